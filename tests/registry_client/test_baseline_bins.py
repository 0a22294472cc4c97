"""Bins against an oracle: plain comparisons in Python, from the description in `document.py`, one value at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as hypothesis_arrays

from registry_client.baseline.bins import bins_of, thresholds
from registry_client.baseline.builder import BaselineBuilder, Choices
from registry_client.baseline.columns import Column
from registry_client.baseline.document import Feature, Kind, bin_count, read_baseline
from registry_client.baseline.values import numbers, places_of_largest
from registry_client.tensors import Datatype

LARGEST, LEAST = 1.7976931348623157e308, 5e-324
NUMERIC = [datatype for datatype in Datatype if datatype is not Datatype.BYTES]
HARD = st.sampled_from([0.0, -0.0, 1.0, -1.0, LARGEST, -LARGEST, LEAST, -LEAST, 2.0**53, 0.1, np.nextafter(0.1, 1.0)])
VALUES = st.one_of(HARD, st.floats(allow_nan=True, allow_infinity=True), st.integers(-3, 3).map(float))
ANY_TAU = 10.0
ENOUGH = 64
"""Rows that are enough at ANY_TAU, however many points there are."""


def naive_bin(kind: Kind, points: Sequence[float], value: float) -> int:
    """The position of the bin's name in `Feature.bins`."""
    if math.isnan(value):
        return len(points) + 1
    if math.isinf(value):
        return len(points) + 2
    if kind is Kind.CATEGORY:
        return next((place for place, point in enumerate(points) if point == value), len(points))
    if value < points[0]:
        return 0
    return next((place for place in range(1, len(points)) if value <= points[place]), len(points))


@st.composite
def features(draw: st.DrawFn) -> Feature:
    kind = draw(st.sampled_from(Kind))
    finite = st.one_of(HARD, st.floats(allow_nan=False, allow_infinity=False))
    found = draw(st.lists(finite, min_size=2, max_size=60, unique_by=lambda value: value + 0.0))
    points = tuple(sorted(found))
    return Feature("f", "x", 0, kind, points, (0,) * bin_count(kind, len(points)))


def arrays_of(datatype: Datatype) -> st.SearchStrategy[np.ndarray]:
    if datatype in (Datatype.FP16, Datatype.FP32, Datatype.FP64):
        width = 8 * datatype.width_bytes
        elements = st.floats(width=width)  # type: ignore[arg-type]
    else:
        dtype = np.dtype(datatype.numpy_dtype.name)
        low, high = (0, 1) if dtype == np.bool_ else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
        elements = st.one_of(st.integers(low, high), st.integers(max(low, -3), min(high, 3)))
    return hypothesis_arrays(datatype.numpy_dtype, st.integers(ENOUGH, 120), elements=elements)


@settings(max_examples=300, deadline=None)
@given(feature=features(), values=st.lists(VALUES, max_size=40))
def test_a_value_falls_into_the_bin_that_the_description_says(feature, values):
    # Where it matters most: on a point, and on the floats beside it.
    with np.errstate(over="ignore"):
        near = [np.nextafter(feature.points, side) for side in (-np.inf, np.inf)]
    asked = np.concatenate([values, feature.points, *near])
    expected = [naive_bin(feature.kind, feature.points, value) for value in asked.tolist()]
    assert bins_of(feature, asked).tolist() == expected
    edges, targets = thresholds(feature)
    assert targets.size == edges.size + 1
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("datatype", NUMERIC, ids=lambda datatype: datatype.name)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_built_of_any_datatype_counts_every_row_where_the_description_says(datatype, data):
    array = data.draw(arrays_of(datatype))
    expected_values = oracle_values(datatype, array)
    if not any(math.isfinite(value) for value in expected_values):
        return
    choices = Choices(bins=data.draw(st.integers(2, 59)), tau=ANY_TAU)
    cuts = sorted(data.draw(st.lists(st.integers(0, array.size), max_size=3)))
    builder = BaselineBuilder([Column("f", "x", 0)], choices=choices)
    for part in np.split(array, cuts):
        builder.add({"x": (datatype, part)})
    baseline = builder.baseline()
    feature = baseline.inputs[0]
    counted = Counter(naive_bin(feature.kind, feature.points, value) for value in expected_values)
    assert feature.counts == tuple(counted[place] for place in range(len(feature.bins)))
    assert sum(feature.counts) == baseline.rows == array.size
    assert baseline.rank_error == 0
    assert read_baseline(baseline.to_bytes()) == baseline


@settings(max_examples=60, deadline=None)
@given(values=st.lists(VALUES, min_size=ENOUGH, max_size=300), cut=st.integers(0, 300), order=st.randoms())
@example(values=[LARGEST, -LARGEST, LEAST, -LEAST] * ENOUGH, cut=3, order=None)
@example(values=[0.0, -0.0] * ENOUGH, cut=1, order=None)
def test_two_halves_merged_and_rows_in_another_order_have_the_bytes_of_one_pass(values, cut, order):
    if not any(math.isfinite(value) for value in values):
        return
    shuffled = list(values)
    if order is not None:
        order.shuffle(shuffled)

    def built(parts: list[list[float]]) -> bytes:
        builders = []
        for part in parts:
            builder = BaselineBuilder([Column("f", "x", 0)], choices=Choices(tau=ANY_TAU))
            builder.add({"x": (Datatype.FP64, np.array(part))})
            builders.append(builder)
        for other in builders[1:]:
            builders[0].merge(other)
        return builders[0].baseline().to_bytes()

    assert built([values]) == built([values[:cut], values[cut:]]) == built([shuffled])


def oracle_values(datatype: Datatype, array: np.ndarray) -> list[float]:
    if datatype is Datatype.BF16:
        import struct

        return [struct.unpack(">f", struct.pack(">HH", bits, 0))[0] for bits in array.tolist()]
    return [float(element) for element in array.tolist()]


@pytest.mark.parametrize("datatype", NUMERIC, ids=lambda datatype: datatype.name)
def test_elements_become_the_numbers_they_stand_for(datatype):
    bits = np.arange(1 << 16, dtype=np.uint16)
    array = bits.view(np.float16) if datatype is Datatype.FP16 else bits.astype(datatype.numpy_dtype)
    np.testing.assert_array_equal(numbers(datatype, array), oracle_values(datatype, array))


def test_the_largest_place_is_the_first_of_equals_and_nan_where_one_is_nan():
    rows = np.array([[1.0, 3.0, 3.0], [np.nan, 1.0, 2.0], [np.inf, np.inf, 0.0], [-np.inf, -np.inf, -np.inf]])
    np.testing.assert_array_equal(places_of_largest(rows), [1.0, np.nan, 0.0, 0.0])
