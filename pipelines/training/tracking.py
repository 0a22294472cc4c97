"""Tracking: one MLflow run for each training, which later stages add to. Used by `stages/train.py`, evaluate, deploy.

What no rerun could make again belongs here: run ids, times, curves; a bundle depends on none of it. MLflow is imported
only where a tracking store is named. Always: a store that is down is a Refusal before any work is done, and a run ends
FINISHED, FAILED or KILLED; `beside/training_run.json` names the run that made `train/model.onnx`, or none.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.code_digest import code_digest
from pipelines.refusal import Refusal
from pipelines.work import Work, read_json, write_json
from registry_client.mlflow_environment import set_variables
from registry_client.opening import absolute_location
from registry_client.tracking_uri import database_file, failure_words, is_tracking_uri, without_passwords

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.tracking import MlflowClient

RUN_FILE: Final = "training_run.json"
DATABASE_TIMEOUT_S: Final = 5.0
EXISTS: Final = "RESOURCE_ALREADY_EXISTS"
MISSING: Final = "RESOURCE_DOES_NOT_EXIST"
# MLflow's own limits of one call and of one field (mlflow.utils.validation).
PARAMETERS_PER_CALL, METRICS_PER_CALL = 100, 1000
VALUE_CHARS_MAX, DATASET_DIGEST_CHARS_MAX = 6000, 36

Metrics = Mapping[str, float | Sequence[float]]
"""By name a figure, or a curve: one figure for each step, from 1."""
Log = Callable[[Metrics], None]


@dataclass(frozen=True)
class TrainingRun:
    """run_id: MLflow's. tracking: where it is, without a password."""

    run_id: str
    tracking: str


@contextmanager
def tracked(work: Work, folder: Path) -> Iterator[Log]:
    """A run around the block, which gets a function that logs figures; one that does nothing where nobody tracks.

    folder: where the block puts `model.onnx`. Raises Refusal at once where the store does not answer.
    """
    if work.tracking is None:
        yield lambda metrics: None
        return
    store = _Store(work.tracking)
    run_id = store.start(work)
    try:
        store.describe(run_id, work)
        yield lambda metrics: store.log(run_id, metrics)
    except BaseException as error:
        try:
            store.end(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        except Refusal as unreachable:
            error.add_note(f"The run {run_id} is left open: {unreachable}")
        raise
    store.end(run_id, "FINISHED")
    document = {"run_id": run_id, "tracking": store.shown, "model_sha256": _model_digest(folder)}
    write_json(work.beside / RUN_FILE, document)


def training_run(work: Work) -> TrainingRun | None:
    """The run that made `train/model.onnx`; None where it was not tracked, or another run has made another model."""
    path = work.beside / RUN_FILE
    if not path.exists():
        return None
    document = read_json(path)
    try:
        # A model can be put back without its run, by DVC for one: what it came to later is none of another run's.
        same = document["model_sha256"] == _model_digest(work.folder / "train")
        return TrainingRun(str(document["run_id"]), str(document["tracking"])) if same else None
    except (TypeError, KeyError) as error:
        raise Refusal(
            str(path), expected="a training's run", got=f"{type(error).__name__}: {error}"[:200],
            hint="Run the train stage again, or remove the file to go on without tracking.",
        ) from error  # fmt: skip


def log_metrics(work: Work, metrics: Metrics) -> None:
    """Add figures to the training's run. Without one nothing happens; raises Refusal where the store is down."""
    found = _open_run(work)
    if found is not None:
        store, run_id = found
        store.log(run_id, metrics)


def attach(work: Work, file_name: str, content: bytes) -> None:
    """Add a file to the training's run, as `log_metrics` does. file_name: flat; one of that name is replaced."""
    assert Path(file_name).name == file_name, "a flat name"
    found = _open_run(work)
    if found is not None:
        store, run_id = found
        store.attach(run_id, file_name, content)


def _open_run(work: Work) -> tuple[_Store, str] | None:
    run = training_run(work)
    if work.tracking is None or run is None or run.tracking != without_passwords(absolute_location(work.tracking)):
        return None
    store = _Store(work.tracking)
    # A store that was made anew, or a run that somebody has deleted: the model is none the worse for it.
    return (store, run.run_id) if store.has(run.run_id) else None


def _model_digest(folder: Path) -> str | None:
    path = folder / "model.onnx"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


class _Store:
    """MLflow's client, whose errors are Refusals of one line."""

    def __init__(self, tracking: str) -> None:
        if not is_tracking_uri(tracking):
            raise Refusal(
                "tracking", expected="a URI like sqlite:///mlflow.db or http://host:5000", got=repr(tracking[:80]),
                hint="Give such a registry; with a folder's path nothing is tracked.",
            )  # fmt: skip
        self._uri = absolute_location(tracking)
        self.shown = without_passwords(self._uri)
        client, self._errors = _mlflow()
        with self._asked("open"):
            _check_database(self._uri)
            self._client: MlflowClient = client(tracking_uri=self._uri)

    def start(self, work: Work) -> str:
        """A new run of the example's experiment, tagged with the digests of what goes in; its id."""
        tags = _tags(work)
        with self._asked("start a run"):
            name = f"{work.definition.name} {work.parameters.train.learner}"
            run = self._client.create_run(self._experiment(work.definition.name), tags=tags, run_name=name)
            return str(run.info.run_id)

    def describe(self, run_id: str, work: Work) -> None:
        """Parameters and data sets."""
        parameters, datasets = _parameters(work), _datasets(work)
        with self._asked("take parameters"):
            for first in range(0, len(parameters), PARAMETERS_PER_CALL):
                self._client.log_batch(run_id, params=parameters[first : first + PARAMETERS_PER_CALL])
            self._client.log_inputs(run_id, datasets)

    def log(self, run_id: str, metrics: Metrics) -> None:
        entries = _entries(metrics)
        with self._asked("take metrics"):
            for first in range(0, len(entries), METRICS_PER_CALL):
                self._client.log_batch(run_id, metrics=entries[first : first + METRICS_PER_CALL])

    def attach(self, run_id: str, file_name: str, content: bytes) -> None:
        with self._asked(f"take {file_name}"), tempfile.TemporaryDirectory(prefix="roost-attach-") as folder:
            path = Path(folder) / file_name
            path.write_bytes(content)
            self._client.log_artifact(run_id, str(path))

    def has(self, run_id: str) -> bool:
        """Whether the run is there, and not deleted."""
        from mlflow.exceptions import MlflowException

        with self._asked("find a run"):
            try:
                return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
            except MlflowException as error:
                if error.error_code != MISSING:
                    raise
                return False

    def end(self, run_id: str, status: str) -> None:
        with self._asked("end a run"):
            self._client.set_terminated(run_id, status)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            found = self._make_experiment(name)
        if found.lifecycle_stage != "active":
            raise Refusal(
                f"tracking {self.shown}", expected=f"an experiment {name} that takes runs", got="one that was deleted",
                hint=f"Restore it: mlflow experiments restore --experiment-id {found.experiment_id}.",
            )  # fmt: skip
        return str(found.experiment_id)

    def _make_experiment(self, name: str) -> Any:
        from mlflow.exceptions import MlflowException

        database = database_file(self._uri)
        # Beside an embedded database; a server says itself where its artifacts are.
        location = None if database is None else (database.parent / "artifacts").as_uri()
        try:
            self._client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != EXISTS:  # somebody else was faster
                raise
        return self._client.get_experiment_by_name(name)

    @contextmanager
    def _asked(self, what: str) -> Iterator[None]:
        """What goes wrong with MLflow, its store or the way there, in one line."""
        try:
            yield
        except self._errors as error:
            raise Refusal(
                f"tracking {self.shown}", expected=f"it to {what}",
                got=failure_words(error),
                hint="See that it is up and has room, then run the stage again; with a folder registry none is needed.",
            ) from error  # fmt: skip


def _mlflow() -> tuple[Callable[..., MlflowClient], tuple[type[Exception], ...]]:
    """MLflow's client, and what it raises. Imported here, since it takes a second and most trainings want none."""
    set_variables()
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise Refusal(
            "tracking", expected="MLflow's client to be installed", got=f"{error}"[:200],
            hint="Install the extra: pip install roost-server[registry]; with a folder registry none is needed.",
        ) from error  # fmt: skip
    # The client trusts its server's answers: one that means nothing ends in any of the last four.
    nonsense = (ValueError, TypeError, AttributeError, KeyError)
    return MlflowClient, (MlflowException, SQLAlchemyError, OSError, sqlite3.Error, *nonsense)


def _check_database(uri: str) -> None:
    """MLflow tries a database that can't be opened ten times, for a hundred seconds: this finds out at once."""
    path = database_file(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=DATABASE_TIMEOUT_S)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()


def _parameters(work: Work) -> list[Any]:
    from mlflow.entities import Param

    flat = _flat(work.parameters.as_lineage())
    return [Param(key, str(value)[:VALUE_CHARS_MAX]) for key, value in sorted(flat.items())]


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _tags(work: Work) -> dict[str, str]:
    """Whole digests, by what they are of: what a run can be found by."""
    tags = {"roost.model": work.definition.name, "roost.code.sha256": code_digest(work.definition)["sha256"]}
    for name, table in read_json(work.of("snapshot") / "snapshot.json")["tables"].items():
        tags |= {f"roost.table.{name}.version": str(table["version"]), f"roost.table.{name}.digest": table["digest"]}
    described = read_json(work.of("features") / "features.json")
    for name in ("training", "evaluation"):
        tags[f"roost.examples.{name}.digest"] = described[name]["digest"]
    return tags


def _datasets(work: Work) -> list[DatasetInput]:
    """What MLflow lists as the run's datasets. Digests are cut to what it takes; `_tags` has them whole."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    described = read_json(work.of("features") / "features.json")
    found = []
    for name in ("training", "evaluation"):
        entry = described[name]
        source = f'{{"uri":"features/{name}.parquet"}}'
        dataset = Dataset(
            f"{work.definition.name} {name}", entry["digest"][:DATASET_DIGEST_CHARS_MAX], "local", source,
            profile=f'{{"num_rows":{int(entry["rows"])}}}',
        )  # fmt: skip
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", name)]))
    return found


def _entries(metrics: Metrics) -> list[Any]:
    from mlflow.entities import Metric

    at_ms = time.time_ns() // 1_000_000
    entries = []
    for name, found in metrics.items():
        figures = found if isinstance(found, Sequence) else [found]
        first_step = 1 if isinstance(found, Sequence) else 0
        entries += [Metric(name, float(figure), at_ms, step) for step, figure in enumerate(figures, first_step)]
    return entries
