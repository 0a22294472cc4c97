"""Offline scoring and a server: the same answers to the same rows, and a difference of a millionth is found."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.deploy.options import Options
from pipelines.deploy.server import serving
from pipelines.examples import read_examples
from pipelines.refusal import Refusal
from pipelines.running import run_stages, work_of
from pipelines.scoring import agreement as module
from pipelines.scoring.agreement import LOCAL, RAY, RTOL, SERVER, Agreement, agreements, compared, write_rows
from pipelines.scoring.engines import Answers, Engine, local
from pipelines.scoring.rows import Piece, input_names, read_pieces
from pipelines.scoring.served import by_server
from pipelines.work import Work
from registry_client.tensors import FREE_DIMENSION, Datatype, TensorSpec
from registry_client.verify import VerifiedBundle, read_verified
from tests.pipelines.records import FEW, ROWS, with_records

pytestmark = pytest.mark.patient  # mostly processes of its own, run beside the others


@dataclass(frozen=True)
class Made:
    """A bundle that the pipeline made and registered, and its evaluation's rows in a file."""

    work: Work
    bundle: VerifiedBundle
    rows: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    root = tmp_path_factory.mktemp("agreement")
    folder = with_records(root / "roost")
    changes = [f"snapshot.rows_max={ROWS}", *FEW, "train.trees.count=20"]
    work = work_of("employment", registry=str(root / "registry"), folder=folder, changes=changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOST_REGISTRY__CACHE", str(root / "cache"))
        run_stages(work)
        bundle = read_verified(work.of("bundle"))
        write_rows(read_examples(work.of("features") / "evaluation.parquet"), bundle.manifest, root / "rows.parquet")
        yield Made(work, bundle, root / "rows.parquet")


def in_pieces(made: Made, engine: Engine) -> Answers:
    parts = [answers for _, answers in engine(made.bundle, read_pieces(made.rows, made.bundle.manifest, None))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_the_command_holds_every_engine_and_a_server_of_its_own_against_the_bundle(
    made: Made, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "work_of", lambda name, **given: made.work)
    told: list[Agreement] = []
    monkeypatch.setattr(module, "_show", lambda console, bundle, found: told.extend(found))
    assert module.main(["employment", "--registry", made.work.registry]) == 0
    every = [LOCAL, SERVER] if importlib.util.find_spec("ray") is None else [LOCAL, RAY, SERVER]
    assert [one.engine for one in told] == every
    assert all((one.rows, one.apart) == (3 * ROWS, 0) and one.worst <= RTOL for one in told)
    capsys.readouterr()


def test_a_server_of_another_version_is_refused_and_not_compared(made: Made, tmp_path: Path) -> None:
    other = replace(made.bundle, digest="0" * 64)

    async def asked() -> Answers:
        name, registry = made.bundle.manifest.name, made.work.registry
        async with serving(Options(own_server=True), name, registry, tmp_path / "s", lambda words: None) as server:
            pieces = read_pieces(made.rows, other.manifest, None)
            return await asyncio.to_thread(lambda: next(iter(by_server(server.target)(other, pieces)))[1])

    with pytest.raises(Refusal, match="expected answers of digest 000000000000, got of version 1, digest"):
        asyncio.run(asked())


def test_a_port_where_nobody_answers_is_refused_in_one_line(made: Made) -> None:
    with pytest.raises(Refusal, match=r"server 127\.0\.0\.1:1: expected an answer to every row"):
        in_pieces(made, by_server("127.0.0.1:1"))


def test_the_same_rows_are_the_evaluations_in_its_order(made: Made) -> None:
    examples = read_examples(made.work.of("features") / "evaluation.parquet")
    pieces = list(read_pieces(made.rows, made.bundle.manifest, None))
    np.testing.assert_array_equal(np.concatenate([piece.inputs["features"] for piece in pieces]), examples.numbers)


def test_columns_of_texts_have_their_names_apart_and_as_many_as_the_input(made: Made) -> None:
    manifest = made.bundle.manifest
    texts = TensorSpec("texts", Datatype.BYTES, (FREE_DIMENSION, 2))
    both = replace(manifest, signature=replace(manifest.signature, inputs=(*manifest.signature.inputs, texts)))
    numbers = tuple(one["name"] for one in manifest.meaning["features"])
    named = {**manifest.meaning, "texts": [{"name": "carrier"}, {"name": "origin"}]}
    assert input_names(replace(both, meaning=named)) == (numbers, ("carrier", "origin"))
    for told in ([], [{"name": "carrier"}], [{"name": "carrier"}, {"title": "Airport"}], "ab", None):
        with pytest.raises(Refusal, match=r"expected names in meaning\.features and meaning\.texts"):
            input_names(replace(both, meaning={**named, "texts": told}))


# --- It can fail -----------------------------------------------------------------------------------------------------
def off(row: int, factor: float) -> Engine:
    def run(bundle: VerifiedBundle, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Answers]]:
        for piece, answers in local(bundle, pieces):
            probabilities = answers["probabilities"].copy()
            if piece.first <= row < piece.first + len(probabilities):
                probabilities[row - piece.first] *= np.float32(factor)
            yield piece, {**answers, "probabilities": probabilities}

    return run


@pytest.mark.parametrize(("factor", "apart"), [(1.0, 0), (1 + 4e-6, 1), (np.nan, 1), (0.0, 1), (np.inf, 1)])
def test_one_row_that_is_off_by_a_few_millionths_is_found(factor: float, apart: int, made: Made) -> None:
    _, one = agreements(made.bundle, made.rows, {"off": off(4711, factor)})
    assert (one.rows, one.apart, one.holds) == (3 * ROWS, apart, apart == 0)


def test_two_that_know_nothing_agree_and_a_missing_row_or_output_does_not() -> None:
    answers = {"label": np.array([0, 1]), "scores": np.float32([[0.5, np.nan], [0.0, 1.0]])}
    assert compared("same", answers, {name: values.copy() for name, values in answers.items()}, 1.0).holds
    assert not compared("fewer", answers, {name: values[:1] for name, values in answers.items()}, 1.0).holds
    assert not compared("other", answers, {"label": answers["label"]}, 1.0).holds
    assert compared("label", answers, {**answers, "label": np.array([1, 1])}, 1.0).apart == 1
    nothing = {"label": np.array([], int)}
    assert not compared("none", nothing, nothing, 1.0).holds
