"""Declaration of features: what a caller sends, column by column, before any encoding.

Written in an example's `features.py`; read by the encoder, the graph, the baseline and the card. Always: names differ,
bounds and codes are exact in float32, and a column's place among its kind is its column in the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from pipelines.refusal import Refusal

CODE_MAX: Final = 2**22
"""float32 holds the difference of any two such codes."""
BOUND_MAX: Final = 1e30
"""Of a number: so that neither a difference nor a scaled one leaves float32."""
PERIOD_MIN: Final = 1e-6
PERIOD_MAX: Final = 1e9
NAME_BYTES_MAX: Final = 64


@dataclass(frozen=True)
class Number:
    """A quantity. NaN or outside [low, high]: missing. optional: whether records may lack it; a caller always may."""

    name: str
    title: str
    low: float
    high: float
    unit: str = ""
    optional: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        within = -BOUND_MAX <= self.low and self.high <= BOUND_MAX
        # float32 decides what is inside, since it is what a caller sends.
        if not (within and np.float32(self.low) < np.float32(self.high)):
            raise _refusal(self.name, f"low < high, within ±{BOUND_MAX:g}", f"{self.low} and {self.high}")

    def as_json(self) -> dict[str, object]:
        return _document(self, "number") | {"low": float(self.low), "high": float(self.high), "unit": self.unit}


@dataclass(frozen=True)
class Code:
    """One of a few whole numbers that stand for something, sent as a float. Any other: unknown."""

    name: str
    title: str
    codes: Mapping[int, str]
    optional: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        strange = [code for code in self.codes if not -CODE_MAX <= code <= CODE_MAX]
        if not self.codes or strange:
            raise _refusal(self.name, f"codes from -{CODE_MAX} to {CODE_MAX}", f"{strange[:3] or 'none'}")

    @cached_property
    def points(self) -> tuple[int, ...]:
        """The codes, ascending."""
        return tuple(sorted(self.codes))

    def as_json(self) -> dict[str, object]:
        # JSON has no keys but strings.
        return _document(self, "code") | {"codes": {str(code): self.codes[code] for code in self.points}}


@dataclass(frozen=True)
class Text:
    """One of a few words. Any other, and "": unknown. values: in the order that numbers them for trees."""

    name: str
    title: str
    values: tuple[str, ...]
    optional: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.values or len(set(self.values)) < len(self.values) or "" in self.values:
            raise _refusal(self.name, "values, each once and none empty", repr(self.values)[:80])

    def as_json(self) -> dict[str, object]:
        return _document(self, "text") | {"values": list(self.values)}


@dataclass(frozen=True)
class Cycle:
    """A place in something that comes round, such as an hour of the day. Outside [0, period): missing."""

    name: str
    title: str
    period: float
    optional: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not PERIOD_MIN <= self.period <= PERIOD_MAX:
            raise _refusal(self.name, f"a period from {PERIOD_MIN:g} to {PERIOD_MAX:g}", f"{self.period}")

    def as_json(self) -> dict[str, object]:
        return _document(self, "cycle") | {"low": 0.0, "period": float(self.period)}


Feature = Number | Code | Text | Cycle


@dataclass(frozen=True)
class FeatureSet:
    """Everything that a model takes. Numbers, codes and cycles are columns of `features`, texts those of `texts`."""

    columns: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise _refusal(twice[0], "names that differ", "it twice")
        if not self.numbers:
            raise Refusal(
                "features", expected="a number, code or cycle at least", got="texts only" if names else "none",
                hint="The input `features` needs a column: declare one in the example's features.py.",
            )  # fmt: skip

    @cached_property
    def numbers(self) -> tuple[Number | Code | Cycle, ...]:
        """The columns of the input `features`, in order."""
        return tuple(feature for feature in self.columns if not isinstance(feature, Text))

    @cached_property
    def texts(self) -> tuple[Text, ...]:
        """The columns of the input `texts`, in order; none where the model has no such input."""
        return tuple(feature for feature in self.columns if isinstance(feature, Text))

    @cached_property
    def ordered(self) -> tuple[Feature, ...]:
        """Numbers, then texts: the order of `names` and of an encoder's `owners`."""
        return (*self.numbers, *self.texts)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of numbers, then of texts."""
        return tuple(feature.name for feature in self.ordered)

    def as_json(self) -> list[dict[str, object]]:
        """By feature, in the order of `names`: name, title, kind, optional, what it may be, and where it is sent."""
        places = [("features", column) for column in range(len(self.numbers))]
        places += [("texts", column) for column in range(len(self.texts))]
        return [
            feature.as_json() | {"input": input_name, "column": column}
            for feature, (input_name, column) in zip(self.ordered, places, strict=True)
        ]


def _document(feature: Feature, kind: str) -> dict[str, object]:
    return {"name": feature.name, "title": feature.title, "kind": kind, "optional": feature.optional}


def _check_name(name: str) -> None:
    if not (name and name.isprintable() and len(name.encode()) <= NAME_BYTES_MAX):
        raise _refusal(name, f"a printable name of 1 to {NAME_BYTES_MAX} bytes", repr(name[:80]))


def _refusal(name: str, expected: str, got: str) -> Refusal:
    return Refusal(f"feature {name}", expected=expected, got=got, hint="Correct it in the example's features.py.")
