"""Records as examples: a column for each declared feature, put in the declared order, and refused where unknown.

An example's `features.py` computes the columns, the features stage has them checked. Always: what a model learns from
is known to the declaration; only a caller may send what is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.examples import Examples
from pipelines.features.declaration import Code, Cycle, Feature, FeatureSet, Number, Text
from pipelines.features.plan import bounds
from pipelines.refusal import Refusal

Column = npt.NDArray[Any]

SHOWN_MAX: Final = 5


def examples_of(
    features: FeatureSet,
    columns: Mapping[str, Column],
    *,
    labels: Column,
    slices: Mapping[str, Column],
    keys: Column,
    at_s: npt.NDArray[np.int64],
) -> Examples:
    """columns: by feature's name its raw values; numbers with NaN, texts with None or "" where missing.

    Raises Refusal where a declared feature has no column.
    """
    absent = [name for name in features.names if name not in columns]
    if absent:
        raise Refusal(
            f"feature {absent[0]}", expected="a column of the records", got="none",
            hint="The example's features.py computes one for each that it declares.",
        )  # fmt: skip
    numbers = np.empty((len(labels), len(features.numbers)), np.float32)
    for place, number in enumerate(features.numbers):
        numbers[:, place] = columns[number.name]
    texts = None
    if features.texts:
        texts = np.empty((len(labels), len(features.texts)), object)
        for place, text in enumerate(features.texts):
            texts[:, place] = ["" if value is None else value for value in columns[text.name].tolist()]
    return Examples(
        numbers,
        texts,
        np.asarray(labels, dtype=np.float64),
        {name: np.asarray(values, dtype=object) for name, values in slices.items()},
        np.asarray(keys, dtype=object),
        np.asarray(at_s, dtype=np.int64),
    )


def check_known(features: FeatureSet, examples: Examples, part: str) -> None:
    """Raises Refusal at the first feature with values that it does not declare, or with none where it is not optional.

    part: of the records, for the message.
    """
    for place, number in enumerate(features.numbers):
        values = examples.numbers[:, place]
        missing = np.isnan(values)
        _refuse(number, part, values, missing, ~missing & ~_known(number, values))
    for place, text in enumerate(features.texts):
        assert examples.texts is not None, "declared texts are there"
        words = examples.texts[:, place]
        missing = words == ""
        _refuse(text, part, words, missing, ~missing & ~np.isin(words.astype(str), text.values))


def _known(feature: Number | Code | Cycle, values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    if isinstance(feature, Code):
        return np.isin(values, np.array(feature.points, dtype=np.float32))
    low, high = bounds(feature)
    return (values >= low) & (values <= high)


def _refuse(
    feature: Feature, part: str, values: Column, missing: npt.NDArray[np.bool_], unknown: npt.NDArray[np.bool_]
) -> None:
    if unknown.any():
        shown = sorted(set(values[unknown].tolist()))[:SHOWN_MAX]
        raise Refusal(
            f"feature {feature.name}", expected=_declared(feature),
            got=f"{', '.join(_short(value) for value in shown)} in {int(unknown.sum()):,} rows of {part}",
            hint="Find out what the records mean by it; if it is right, declare it in the example's features.py.",
        )  # fmt: skip
    if missing.any() and not feature.optional:
        raise Refusal(
            f"feature {feature.name}", expected="a value in every record",
            got=f"none in {int(missing.sum()):,} rows of {part}",
            hint="Look at the source; if it may be missing, declare it optional in the example's features.py.",
        )  # fmt: skip


def _declared(feature: Feature) -> str:
    match feature:
        case Number():
            return f"{feature.low:g} to {feature.high:g}"
        case Cycle():
            return f"0 to below {feature.period:g}"
        case Code():
            return f"one of {len(feature.codes)} declared codes"
        case Text():
            return f"one of {len(feature.values)} declared words"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)[:40]
