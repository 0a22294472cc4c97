"""Features: a snapshot's records as raw examples, to learn from and to judge by. After snapshot, before train.

The example's `split` makes them; here they are checked and written. Nothing is encoded: later stages feed the graph
what a caller would. Always: labels are there, keys are told once, no record is in both parts, and every value is one
that the features declare.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipelines.definition import Classification, Definition
from pipelines.examples import Examples, Split
from pipelines.features.records import check_known
from pipelines.refusal import Refusal
from pipelines.stages.snapshot import read_tables
from pipelines.work import Work, write_json

STAGE: Final = "features"
SHORT: Final = 12


def run(work: Work) -> str:
    """Writes training.parquet, evaluation.parquet and features.json. Raises Refusal."""
    tables = read_tables(work)
    work.say("making examples of the records")
    split = work.definition.split(tables)
    work.say("checking every value against its declaration")
    check(work.definition, split)
    parts = {"training": split.training, "evaluation": split.evaluation}
    told = {name: {"rows": len(part), "digest": part.digest()} for name, part in parts.items()}
    with work.output(STAGE) as folder:
        for name, part in parts.items():
            part.write(folder / f"{name}.parquet")
        write_json(folder / "features.json", {**told, "features": work.definition.features.as_json()})
    return "; ".join(f"{name} {len(part):,} rows, digest {_digest(told[name])}" for name, part in parts.items())


def check(definition: Definition, split: Split) -> None:
    """Both parts, and that they share no record. Raises Refusal."""
    for name, part in (("training", split.training), ("evaluation", split.evaluation)):
        _check_part(definition, name, part)
        check_known(definition.features, part, name)
    both = np.intersect1d(split.training.keys.astype(str), split.evaluation.keys.astype(str))
    if both.size:
        raise Refusal(
            "keys", expected="records in one part alone", got=f"{both.size:,} in both, such as {both[0]}"[:120],
            hint="Correct the example's split: what a model learnt from can't judge it.",
        )  # fmt: skip


def _check_part(definition: Definition, name: str, part: Examples) -> None:
    if not len(part):
        raise Refusal(
            name, expected="records", got="none",
            hint="The split leaves nothing of this snapshot: raise snapshot.rows_max, or look at its loads.",
        )  # fmt: skip
    if part.slices.keys() != definition.slices.keys():
        raise Refusal(
            f"slices of {name}", expected=", ".join(definition.slices), got=", ".join(part.slices) or "none",
            hint="The example's definition names those that its split makes.",
        )  # fmt: skip
    wrong = ~np.isfinite(part.labels)
    if isinstance(definition.task, Classification):
        classes = np.arange(len(definition.task.labels))
        wrong |= ~np.isin(part.labels, classes)
    if wrong.any():
        raise Refusal(
            f"label {definition.label}", expected=_labels(definition),
            got=f"{part.labels[wrong][0]:g} in {int(wrong.sum()):,} rows of {name}, first {part.keys[wrong][0]}"[:120],
            hint="A record without a label can't be learnt from: complete it, or have the split leave it out.",
        )  # fmt: skip
    keys, counts = np.unique(part.keys.astype(str), return_counts=True)
    if (counts > 1).any():
        raise Refusal(
            f"keys of {name}", expected="each once", got=f"{keys[counts > 1][0]} {counts.max()} times"[:120],
            hint="Correct the example's split: a key names one record.",
        )  # fmt: skip


def _labels(definition: Definition) -> str:
    if isinstance(definition.task, Classification):
        return f"a class from 0 to {len(definition.task.labels) - 1}"
    return f"a number of {definition.task.unit}"


def _digest(told: dict[str, Any]) -> str:
    return str(told["digest"])[:SHORT]
