"""Explanations: the model's importances and some answers feature by feature, as one document of the bundle.

Made of what `attribution.py` found, shown by `pictures.py` and `sections.py`. Always: features stand by falling
strength as it is told; floats are rounded to 6 significant digits, so that the last bit of a sum does not name another
bundle; a row is told by its place in evaluation, never by its key, which may be somebody's.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from pipelines.artifact.attribution import ADDITIVITY_BOUND, Explained, Floats, rounded
from pipelines.definition import Classification, Definition
from pipelines.examples import Examples
from pipelines.features.declaration import Code, Feature, Number

EXAMPLE_RANKS: Final = (0.02, 0.25, 0.5, 0.75, 0.98)
"""Which of the explained rows are told one by one: by the rank of their output, of one."""


def explanations_document(definition: Definition, explained: Explained, evaluation: Examples) -> dict[str, Any]:
    """`explanations.json`, with features by falling strength; floats rounded to 6 significant digits.

    {"method", "unit", "rows", "base", "background_rows": int | null, "additivity_bound",
     "importances": [{"rank", "feature", "title", "mean_abs", "share"}, ...],
     "examples": [{"row": place in evaluation, "actual": label, "actual_shown": str, "answer", "output",
                   "values": [{"feature", "title", "given": as sent, null where missing, "shown", "value"}, ...]}, ...]}
    """
    columns = definition.features.ordered
    strengths, shares = np.abs(explained.values).mean(axis=0), explained.shares
    return {
        "method": explained.method,
        "unit": explained.unit,
        "rows": len(explained.rows),
        "base": rounded(explained.base),
        "background_rows": explained.background_rows,
        "additivity_bound": ADDITIVITY_BOUND,
        "importances": [
            {
                "rank": rank, "feature": columns[place].name, "title": columns[place].title,
                "mean_abs": rounded(strengths[place]), "share": rounded(shares[place]),
            }
            for rank, place in enumerate(_falling(strengths), 1)
        ],
        "examples": [
            _example(definition, explained, evaluation, chosen) for chosen in _spread_over_outputs(explained.outputs)
        ],
    }  # fmt: skip


def shown(column: Feature, given: float | str | None) -> str:
    """A raw value in words."""
    match column, given:
        case _, None:
            return "missing"
        case _, str():
            return given
        case Code(), _:
            return column.codes.get(int(given), "unknown") if given == int(given) else "unknown"
        case Number(), _:
            return f"{given:.4g} {column.unit}".rstrip()
        case _:
            return f"{given:.4g}"


def _example(definition: Definition, explained: Explained, evaluation: Examples, chosen: int) -> dict[str, Any]:
    row, columns, task = int(explained.rows[chosen]), definition.features.ordered, definition.task
    actual = float(evaluation.labels[row])
    given: list[float | str | None] = [
        rounded(number) if math.isfinite(number) else None for number in evaluation.numbers[row].tolist()
    ]
    if evaluation.texts is not None:
        given += [text or None for text in evaluation.texts[row].tolist()]
    values = explained.values[chosen]
    return {
        "row": row,
        "actual": rounded(actual),
        "actual_shown": task.labels[int(actual)] if isinstance(task, Classification) else f"{actual:.4g} {task.unit}",
        "answer": rounded(explained.answers[chosen]),
        "output": rounded(explained.outputs[chosen]),
        "values": [
            {
                "feature": columns[place].name, "title": columns[place].title, "given": given[place],
                "shown": shown(columns[place], given[place]), "value": rounded(values[place]),
            }
            for place in _falling(np.abs(values))
        ],
    }  # fmt: skip


def _falling(strengths: Floats) -> list[int]:
    """Places by falling strength as it is told: rounded, so that a tie keeps the features' order."""
    told = np.array([rounded(strength) for strength in strengths])
    places: list[int] = np.argsort(-told, kind="stable").tolist()
    return places


def _spread_over_outputs(outputs: Floats) -> list[int]:
    order = np.argsort(outputs, kind="stable")
    chosen = {int(order[round(rank * (len(order) - 1))]): None for rank in EXAMPLE_RANKS}
    return list(chosen)
