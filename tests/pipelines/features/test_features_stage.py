"""The features stage: whole examples or none, and a refusal that names the column for whatever was never declared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.definition import Classification, Definition, Prose, Regression, definition
from pipelines.examples import Examples, Split, read_examples
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.features.records import check_known, examples_of
from pipelines.parameters import Parameters
from pipelines.refusal import Refusal
from pipelines.stages import features as stage
from pipelines.work import Work

FEATURES = FeatureSet(
    (
        Number("age", "age", 0, 130, "years"),
        Number("humid", "humidity", 0, 100, "per cent", optional=True),
        Code("sex", "sex", {1: "male", 2: "female"}),
        Cycle("hour", "hour", 24),
        Text("origin", "where from", ("JFK", "EWR")),
        Text("gate", "which gate", ("A", "B"), optional=True),
    )
)
ROWS = 6


def examples(first_key: int = 0) -> Examples:
    return examples_of(
        FEATURES,
        {
            "age": np.arange(ROWS) * 10.0,
            "humid": np.array([50.0, np.nan] * 3),
            "sex": np.array([1, 2] * 3),
            "hour": np.arange(ROWS),
            "origin": np.array(["JFK", "EWR"] * 3, dtype=object),
            "gate": np.array(["A", None] * 3, dtype=object),
        },
        labels=np.array([0, 1] * 3),
        slices={"sex": np.array(["male", "female"] * 3)},
        keys=np.array([str(first_key + row) for row in range(ROWS)]),
        at_s=np.arange(ROWS),
    )


def defined(split: Split) -> Definition:
    return Definition(
        name="made", title="made up", task=Classification(("no", "yes")), label="chosen", tables=(), features=FEATURES,
        fetch=lambda downloads, rows_max: iter(()), split=lambda tables: split, slices={"sex": "sex"},
        prose=Prose((), (), (), "none"),
    )  # fmt: skip


def run(split: Split, folder: Path, monkeypatch: pytest.MonkeyPatch, of: Definition | None = None) -> str:
    monkeypatch.setattr(stage, "read_tables", lambda work: {})
    root = folder / "pipelines"
    work = Work(of or defined(split), Parameters(), root, folder / "lake", folder / "data", registry="none")
    return stage.run(work)


def test_examples_are_written_as_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(examples(), examples(first_key=100))
    told = run(split, tmp_path, monkeypatch)
    assert told.startswith(f"training {ROWS} rows, digest {split.training.digest()[:12]}; evaluation {ROWS} rows")
    folder = tmp_path / "pipelines" / "features"
    for name, part in (("training", split.training), ("evaluation", split.evaluation)):
        again = read_examples(folder / f"{name}.parquet")
        assert again.digest() == part.digest()
    document = json.loads((folder / "features.json").read_bytes())
    assert document["training"] == {"rows": ROWS, "digest": split.training.digest()}
    assert document["evaluation"] == {"rows": ROWS, "digest": split.evaluation.digest()}
    assert document["features"] == FEATURES.as_json()


def test_the_same_examples_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("once", "twice"):
        run(Split(examples(), examples(first_key=100)), tmp_path / name, monkeypatch)
    once, twice = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "pipelines" / "features").iterdir()}
        for name in ("once", "twice")
    )
    assert once == twice
    assert once.keys() == {"training.parquet", "evaluation.parquet", "features.json"}


def _set(place: int, value: float) -> Callable[[Examples], Examples]:
    def change(part: Examples) -> Examples:
        numbers = part.numbers.copy()
        numbers[3, place] = value
        return replace(part, numbers=numbers)

    return change


def _say(place: int, word: str) -> Callable[[Examples], Examples]:
    def change(part: Examples) -> Examples:
        assert part.texts is not None
        texts = part.texts.copy()
        texts[3, place] = word
        return replace(part, texts=texts)

    return change


def _label(value: float) -> Callable[[Examples], Examples]:
    return lambda part: replace(part, labels=np.where(np.arange(ROWS) == 3, value, part.labels))


def _keys(*last: str) -> Callable[[Examples], Examples]:
    return lambda part: replace(part, keys=np.array([*part.keys[: -len(last)], *last], dtype=object))


BAD = {
    "an unknown code": (_set(2, 3), r"feature sex: expected one of 2 declared codes, got 3 in 1 rows of evaluation"),
    "half a code": (_set(2, 1.5), r"feature sex: .* got 1\.5 in 1 rows"),
    "a code that is missing": (_set(2, np.nan), r"feature sex: expected a value in every record, got none in 1 rows"),
    "a number above": (_set(0, 131), r"feature age: expected 0 to 130, got 131 in 1 rows of evaluation"),
    "a number without end": (_set(0, np.inf), r"feature age: expected 0 to 130, got inf"),
    "a number that is missing": (_set(0, np.nan), r"feature age: expected a value in every record"),
    "an optional number above": (_set(1, 101), r"feature humid: expected 0 to 100, got 101"),
    "an hour too many": (_set(3, 24), r"feature hour: expected 0 to below 24, got 24"),
    "an unknown word": (_say(0, "BOS"), r"feature origin: expected one of 2 declared words, got 'BOS' in 1 rows"),
    "a word that is missing": (_say(0, ""), r"feature origin: expected a value in every record"),
    "no label": (_label(np.nan), r"label chosen: expected a class from 0 to 1, got nan in 1 rows of evaluation, first"),
    "another class": (_label(2), r"label chosen: expected a class from 0 to 1, got 2 in 1 rows"),
    "half a class": (_label(0.5), r"label chosen: .* got 0\.5"),
    "no rows": (lambda part: part.take(np.array([], dtype=np.int64)), r"evaluation: expected records, got none"),
    "a key twice": (_keys("104", "104"), r"keys of evaluation: expected each once, got 104 2 times"),
    "a key of training": (_keys("104", "5"), r"keys: expected records in one part alone, got 1 in both, such as 5"),
    "another slice": (
        lambda part: replace(part, slices={"age": part.keys}), r"slices of evaluation: expected sex, got age"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "named"), BAD.values(), ids=BAD)
def test_it_is_refused_by_name_and_nothing_is_left(
    spoil: Callable[[Examples], Examples], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refusal, match=named):
        run(Split(examples(), spoil(examples(first_key=100))), tmp_path, monkeypatch)
    assert not (tmp_path / "pipelines").exists() or not list((tmp_path / "pipelines").iterdir())


def test_a_refused_split_leaves_the_earlier_one_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = Split(examples(), examples(first_key=100))
    run(good, tmp_path, monkeypatch)
    with pytest.raises(Refusal):
        run(Split(good.training, _set(0, 131)(good.evaluation)), tmp_path, monkeypatch)
    assert read_examples(tmp_path / "pipelines" / "features" / "training.parquet").digest() == good.training.digest()


def test_a_number_may_be_any_that_is_finite_where_one_is_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(_label(-31.5)(examples()), examples(first_key=100))
    of_numbers = replace(defined(split), task=Regression("minutes"))
    run(split, tmp_path, monkeypatch, of_numbers)
    spoilt = Split(_label(np.inf)(examples()), split.evaluation)
    with pytest.raises(Refusal, match=r"label chosen: expected a number of minutes, got inf"):
        run(spoilt, tmp_path, monkeypatch, replace(of_numbers, split=lambda tables: spoilt))


def test_a_feature_that_the_records_do_not_give_is_refused_by_name() -> None:
    with pytest.raises(Refusal, match="feature age: expected a column of the records, got none"):
        examples_of(
            FeatureSet((Number("age", "", 0, 1),)), {}, labels=np.zeros(1), slices={}, keys=np.array(["a"]),
            at_s=np.zeros(1, dtype=np.int64),
        )  # fmt: skip


def test_every_unknown_value_is_shown_up_to_five() -> None:
    part = examples()
    numbers = part.numbers.copy()
    numbers[:, 2] = [3, 4, 5, 6, 7, 8]
    with pytest.raises(Refusal, match=r"got 3, 4, 5, 6, 7 in 6 rows of training"):
        check_known(FEATURES, replace(part, numbers=numbers), "training")


@pytest.mark.parametrize("name", ["employment", "flights"])
def test_an_example_says_what_it_is_for_and_what_not(name: str) -> None:
    of = definition(name)
    assert of.name == name == of.folder.name
    prose = of.prose
    assert min(map(len, (prose.intended_use, prose.not_intended, prose.limits))) >= 2
    for sentence in (*prose.intended_use, *prose.not_intended, *prose.limits, prose.source):
        assert sentence.endswith("."), sentence
