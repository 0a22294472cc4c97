"""For these tests: rows of whatever a caller could send, known values among them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pipelines.examples import NUMBERS, TEXTS
from pipelines.features.declaration import Code, Cycle, Feature, FeatureSet, Number, Text

ROWS_MAX = 6
STRANGE = (
    math.nan, math.inf, -math.inf, -0.0, 0.0, 0.5, 1.5, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 1e30,
    2.0**22, 2.0**24, 2.0**31, 2.0**63, -(2.0**63), 1.0000001, 0.99999994, 23.999998, 24.0, 365.25, 365.24997,
)  # fmt: skip
STRANGE_WORDS = ("", " ", "jfk", "JFK ", "JF", "JFKJFK", "nan", "0", "Sao Paulo", "São", "日本", "\x7f", "é" * 500)


@st.composite
def hostile_inputs(draw: st.DrawFn, features: FeatureSet) -> dict[str, Any]:
    """One to ROWS_MAX rows, as the graph takes them."""
    rows = draw(st.integers(1, ROWS_MAX))
    numbers = [[draw(_values(feature)) for feature in features.numbers] for _ in range(rows)]
    inputs: dict[str, Any] = {NUMBERS: np.array(numbers, dtype=np.float32)}
    if features.texts:
        words = [[draw(_words(feature)) for feature in features.texts] for _ in range(rows)]
        inputs[TEXTS] = np.array(words, dtype=object)
    return inputs


def _values(feature: Feature) -> st.SearchStrategy[float]:
    match feature:
        case Number():
            known = st.floats(float(np.float32(feature.low)), float(np.float32(feature.high)), width=32)
        case Cycle():
            known = st.floats(0, float(np.float32(feature.period)), width=32, exclude_max=True)
        case Code():
            known = st.sampled_from([float(code) for code in feature.points])
    return st.one_of(known, st.sampled_from(STRANGE), st.floats(width=32))


def _words(feature: Text) -> st.SearchStrategy[str]:
    any_word = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
    return st.one_of(st.sampled_from(feature.values), st.sampled_from(STRANGE_WORDS), any_word)
