"""Tracking: a run tells what was trained on what and ends as the stage does; a store that is down costs no training."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.code_digest import code_digest
from pipelines.refusal import Refusal
from pipelines.stages import train
from pipelines.training import tracking
from pipelines.training.tracking import attach, log_metrics, training_run
from pipelines.work import Work, read_json
from registry_client.mlflow_environment import set_variables

set_variables()
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

Make = Callable[..., Work]


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(tables: Path, tmp_path: Path) -> str:
    (tmp_path / "store").mkdir()
    shutil.copy(tables, tmp_path / "store" / "mlflow.db")
    return f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"


def runs(store: str) -> list[Any]:
    """The toy's runs, newest first."""
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("toy")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def files(store: str, run_id: str) -> dict[str, bytes]:
    client = MlflowClient(tracking_uri=store)
    return {
        entry.path: Path(client.download_artifacts(run_id, entry.path)).read_bytes()
        for entry in client.list_artifacts(run_id)
    }


def test_a_run_names_parameters_data_code_and_ends_finished(make_work: Make, store: str, tmp_path: Path) -> None:
    work = make_work(tracking=store)
    train.run(work)
    (run,) = runs(store)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "toy trees")
    assert run.data.params["train.trees.count"] == "20"
    assert run.data.params["gates.slice_rows_min"] == "500"
    assert not [key for key in run.data.params if "network" in key]
    described = read_json(work.of("features") / "features.json")
    tags = run.data.tags
    assert tags["roost.code.sha256"] == code_digest(work.definition)["sha256"]
    assert (tags["roost.table.toys.version"], tags["roost.table.toys.digest"]) == ("3", "ab" * 32)
    assert tags["roost.examples.training.digest"] == described["training"]["digest"]
    datasets = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    assert datasets == {f"toy {name}": described[name]["digest"][:36] for name in ("training", "evaluation")}
    assert run.info.artifact_uri.startswith((tmp_path / "store" / "artifacts").as_uri())
    curve = MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, "training_loss")
    assert [point.step for point in curve] == list(range(1, 21))
    assert curve[-1].value < curve[0].value
    assert 0 < run.data.metrics["parity_error"] < 1e-6


def test_a_tracked_training_leaves_the_same_files_as_an_untracked_one(make_work: Make, store: str) -> None:
    work = make_work()
    train.run(work)
    untracked = {path.name: path.read_bytes() for path in work.of("train").iterdir()}
    assert training_run(work) is None
    train.run(replace(work, tracking=store))
    assert {path.name: path.read_bytes() for path in work.of("train").iterdir()} == untracked
    assert training_run(work) is not None


@pytest.mark.parametrize(
    ("error", "status"), [(Refusal("it", expected="a", got="b", hint="c"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_stage_that_stops_ends_its_run_so(
    error: BaseException, status: str, make_work: Make, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*args: Any) -> None:
        raise error

    work = make_work(tracking=store)
    monkeypatch.setattr(train, "check_parity", stops)
    with pytest.raises(type(error)):
        train.run(work)
    (run,) = runs(store)
    assert run.info.status == status
    assert not (work.folder / "train").exists()
    assert training_run(work) is None


def test_a_later_stage_adds_to_the_same_run(make_work: Make, store: str) -> None:
    work = make_work(tracking=store)
    train.run(work)
    log_metrics(work, {"auc": 0.9, "latency_us": 12})
    attach(work, "rollout.json", b'{"outcome":"held"}')
    attach(work, "rollout.json", b'{"outcome":"promoted"}')
    (run,) = runs(store)
    assert run.info.run_id == training_run(work).run_id  # type: ignore[union-attr]
    assert (run.data.metrics["auc"], run.data.metrics["latency_us"]) == (0.9, 12)
    assert files(store, run.info.run_id) == {"rollout.json": b'{"outcome":"promoted"}'}
    assert run.info.status == "FINISHED"


def test_without_a_run_there_is_nothing_to_add_to(make_work: Make, store: str, tmp_path: Path) -> None:
    untracked = make_work()
    train.run(untracked)
    log_metrics(untracked, {"auc": 0.9})
    attach(replace(untracked, tracking=store), "rollout.json", b"{}")
    assert runs(store) == []


def test_a_model_put_back_without_its_run_takes_no_other_run(make_work: Make, store: str) -> None:
    work = make_work(tracking=store)
    train.run(work)
    graph = work.of("train") / "model.onnx"
    mine = graph.read_bytes()
    graph.write_bytes(b"another model")
    assert training_run(work) is None
    log_metrics(work, {"auc": 0.5})
    graph.write_bytes(mine)
    log_metrics(work, {"auc": 0.9})
    (run,) = runs(store)
    history = MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, "auc")
    assert [point.value for point in history] == [0.9]


def test_a_run_in_another_store_is_not_looked_for_here(
    make_work: Make, store: str, tables: Path, tmp_path: Path
) -> None:
    work = make_work(tracking=store)
    train.run(work)
    (tmp_path / "other").mkdir()
    shutil.copy(tables, tmp_path / "other" / "mlflow.db")
    log_metrics(replace(work, tracking=f"sqlite:///{tmp_path}/other/mlflow.db"), {"auc": 0.9})
    assert "auc" not in runs(store)[0].data.metrics


def test_a_run_that_its_store_has_lost_or_deleted_stops_nothing(
    make_work: Make, store: str, tables: Path, tmp_path: Path
) -> None:
    work = make_work(tracking=store)
    train.run(work)
    (run,) = runs(store)
    MlflowClient(tracking_uri=store).delete_run(run.info.run_id)
    log_metrics(work, {"auc": 0.9})
    shutil.copy(tables, tmp_path / "store" / "mlflow.db")  # made anew
    log_metrics(work, {"auc": 0.9})
    attach(work, "rollout.json", b"{}")
    assert runs(store) == []


def test_a_damaged_run_file_is_named(make_work: Make, store: str) -> None:
    work = make_work(tracking=store)
    train.run(work)
    (work.beside / tracking.RUN_FILE).write_text("[]")
    with pytest.raises(Refusal, match=r"training_run\.json: expected a training's run, got TypeError"):
        log_metrics(work, {"auc": 0.9})


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Bound and not listening, so that nobody else takes it meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "fit", lambda *args: pytest.fail("it was trained"))


@pytest.mark.usefixtures("no_training")
def test_a_server_that_is_down_stops_the_stage_before_any_work_in_one_line(
    make_work: Make, closed_port: int
) -> None:
    work = make_work(tracking=f"http://user:secret@127.0.0.1:{closed_port}")
    with pytest.raises(Refusal, match=r"tracking http://user:\*\*\*@127\.0\.0\.1:\d+: expected it to start") as down:
        train.run(work)
    assert "\n" not in str(down.value)
    assert "secret" not in str(down.value)
    assert not (work.folder / "train").exists()


def damaged(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to look like one" * 100)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("spoil", [damaged, a_folder])
def test_a_database_that_can_not_be_used_stops_the_stage_before_any_work(
    spoil: Callable[[Path], None], make_work: Make, store: str
) -> None:
    spoil(Path(store.removeprefix("sqlite:///")))
    with pytest.raises(Refusal, match=r"tracking sqlite:///.*: expected it to open, got"):
        train.run(make_work(tracking=store))


@pytest.mark.usefixtures("no_training")
def test_a_location_that_is_no_store_is_refused(make_work: Make) -> None:
    with pytest.raises(Refusal, match=r"tracking: expected a URI like sqlite:///mlflow\.db"):
        train.run(make_work(tracking="runs/here"))


@pytest.mark.usefixtures("no_training")
def test_an_experiment_that_was_deleted_says_how_to_have_it_back(make_work: Make, store: str) -> None:
    client = MlflowClient(tracking_uri=store)
    number = client.create_experiment("toy")
    client.delete_experiment(number)
    with pytest.raises(Refusal, match=rf"mlflow experiments restore --experiment-id {number}"):
        train.run(make_work(tracking=store))
    assert client.search_experiments(view_type=ViewType.DELETED_ONLY)


@pytest.mark.usefixtures("no_training")
def test_a_run_that_the_store_will_not_describe_ends_failed(
    make_work: Make, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*args: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(MlflowClient, "log_inputs", refuses)
    with pytest.raises(Refusal, match="expected it to take parameters, got no space left on device"):
        train.run(make_work(tracking=store))
    assert [run.info.status for run in runs(store)] == ["FAILED"]


def test_a_store_that_goes_down_during_the_training_leaves_no_result(
    make_work: Make, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = make_work(tracking=store)
    fitted = train.fit

    def fit_and_lose_the_store(*args: Any) -> Any:
        damaged(Path(store.removeprefix("sqlite:///")))
        return fitted(*args)

    monkeypatch.setattr(train, "fit", fit_and_lose_the_store)
    with pytest.raises(Refusal, match="expected it to take metrics, got") as lost:
        train.run(work)
    assert "is left open" in lost.value.__notes__[0]
    assert not (work.folder / "train").exists()


def test_a_store_that_is_down_stops_a_later_stage(make_work: Make, store: str) -> None:
    work = make_work(tracking=store)
    train.run(work)
    damaged(Path(store.removeprefix("sqlite:///")))
    with pytest.raises(Refusal, match="expected it to open, got file is not a database"):
        attach(work, "rollout.json", b"{}")
