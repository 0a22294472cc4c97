"""The kernels that count rows by bin, beside a slow oracle: all types, extremes, batches, chunks and buckets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from native.drift import layout
from native.drift.count import bucket_of, count_rows
from native.drift.program import CountedFeature, CountedTensor, Program, rounded_down, rows_between
from native.drift.values import bfloat_value, element_value, half_value
from native.plane.drift import DriftReader, open_counts
from native.plane.layout import DRIFT_BINS_MAX, DRIFT_BUCKETS, Plane
from native.route.layout import MAIN, TRIAL
from native.wire.datatypes import BF16, BYTES, DATATYPES, WireDatatype
from registry_client.baseline.bins import bins_of, thresholds
from registry_client.baseline.document import ARGMAX, BINS_MAX, Feature, Kind
from tests.oracles.binning import bin_of, counts_of

NUMBERS = [row for row in DATATYPES.values() if row.code not in (BYTES, BF16)]
EXTREMES = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, -5e-324, 1.5, 2.0, 1e300, -1e300, 65504.0, 2.0**53]
ROWS_MAX = 700


def number(column: int, *edges: float, tensor: str = "x") -> Feature:
    return Feature(f"{tensor}{column}", tensor, column, Kind.NUMBER, edges, (0,) * (len(edges) + 3))


def category(column: int, *codes: float, tensor: str = "x") -> Feature:
    return Feature(f"{tensor}{column}", tensor, column, Kind.CATEGORY, codes, (0,) * (len(codes) + 3))


class Counted:
    """A program over one input "x" and one output "y", of a plane of its own."""

    def __init__(self, features: list[Feature], datatype: int, width: int, rows_max: int = ROWS_MAX) -> None:
        self.plane = Plane.create(1)
        self.features = features
        self.bins = sum(len(feature.counts) for feature in features)
        counts = open_counts(self.plane.drift(0, 3), 5, self.bins)
        inputs = [self._feature(feature) for feature in features if feature.tensor == "x"]
        outputs = [self._feature(feature) for feature in features if feature.tensor == "y"]
        tensors = [CountedTensor(datatype, width)], [CountedTensor(datatype, width if outputs else 0)]
        self.program = Program(*tensors, inputs, outputs, counts, rows_max)

    @staticmethod
    def _feature(feature: Feature) -> CountedFeature:
        return CountedFeature(0, feature.column, *thresholds(feature), len(feature.counts))

    def count(self, x: np.ndarray, buckets: np.ndarray, side: int = MAIN, y: np.ndarray | None = None) -> int:
        self.program.point_at(side, 0, x)
        if y is not None:
            self.program.point_at(side, 1, y)
        self.program.buckets[side, : len(x)] = buckets
        return int(count_rows(self.program.words, side, 0, len(x)))

    def read(self) -> np.ndarray:
        found = DriftReader(self.plane).read(3, 5, self.bins)
        assert found is not None
        return found


def cast(values: np.ndarray, datatype: WireDatatype) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return values.astype(datatype.numpy_dtype)


@pytest.mark.parametrize("datatype", NUMBERS, ids=lambda row: row.name)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_kernels_count_as_the_oracle_does(datatype: WireDatatype, data: st.DataObject) -> None:
    """Whatever the type, the values, how many rows, how they are cut into batches, and on which side they run."""
    value = st.one_of(st.sampled_from(EXTREMES), st.floats(width=64), st.integers(-300, 300).map(float))
    points = sorted(data.draw(st.sets(st.floats(-200, 200), min_size=2, max_size=12)))
    codes = sorted(data.draw(st.sets(st.integers(-5, 5).map(float), min_size=1, max_size=8)))
    drawn = data.draw(st.lists(st.lists(value, min_size=3, max_size=3), min_size=1, max_size=40))
    repeat = data.draw(st.sampled_from([1, 1, 30]))
    x = cast(np.tile(np.array(drawn), (repeat, 1))[:600], datatype)
    features = [number(0, *points), category(1, *codes), number(2, *points), category(ARGMAX, 0.0, 2.0)]
    buckets = np.array(data.draw(st.lists(st.integers(0, 15), min_size=len(x), max_size=len(x))), dtype=np.uint8)
    counted = Counted(features, datatype.code, 3)
    cut = data.draw(st.integers(0, len(x)))
    for side, part in ((MAIN, slice(0, cut)), (TRIAL, slice(cut, None))):
        if len(x[part]):
            assert counted.count(x[part], buckets[part], side) == len(x[part])
    assert (counted.read() == counts_of(features, {"x": x}, buckets)).all()


@given(st.lists(st.one_of(st.sampled_from(EXTREMES), st.floats()), min_size=1, max_size=30), st.data())
def test_the_tables_of_thresholds_say_what_the_document_says(values: list[float], data: st.DataObject) -> None:
    points = tuple(sorted(data.draw(st.sets(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=9))))
    # Points themselves and their neighbours are where a table is wrong first.
    with np.errstate(over="ignore"):
        near = [*points, *np.nextafter(points, np.inf), *np.nextafter(points, -np.inf), *values]
    for feature in (number(0, *points), category(0, *points)):
        found = bins_of(feature, np.array(near))
        assert found.tolist() == [bin_of(feature, float(value)) for value in near]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.floats(width=32, allow_nan=False))
def test_a_rounded_threshold_parts_the_same_float32_values(edges: list[float], value: float) -> None:
    narrow = np.float32(value)
    for edge, rounded in zip(edges, rounded_down(np.array(edges)), strict=True):
        assert (float(narrow) > edge) == bool(narrow > rounded)


def test_every_half_and_every_bfloat_is_read_as_it_is() -> None:
    bits = np.arange(65_536, dtype=np.uint16)
    halves = np.array([half_value(int(word)) for word in bits])
    np.testing.assert_array_equal(halves, bits.view(np.float16).astype(np.float64))
    bfloats = np.array([bfloat_value(int(word)) for word in bits])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(bfloats, (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64))


def test_text_has_no_value() -> None:
    assert np.isnan(element_value(np.zeros(1).ctypes.data, BYTES))


def test_outputs_are_counted_beside_inputs() -> None:
    features = [number(0, 0.0, 1.0), number(1, 0.0, 1.0, tensor="y"), category(ARGMAX, 0.0, 1.0, tensor="y")]
    counted = Counted(features, 11, 2)
    x, y = (np.random.default_rng(seed).normal(size=(300, 2)).astype(np.float32) for seed in (1, 2))
    buckets = np.arange(300) % 16
    assert counted.count(x, buckets, y=y) == 300
    assert (counted.read() == counts_of(features, {"x": x, "y": y}, buckets)).all()


def test_the_argmax_of_a_row_with_a_nan_is_missing() -> None:
    counted = Counted([category(ARGMAX, 0.0, 1.0)], 11, 2)
    counted.count(np.array([[1, np.nan], [np.nan, 2], [3, 2], [1, 1]], np.float32), np.zeros(4, np.uint8))
    assert counted.read()[0].tolist() == [2, 0, 0, 2, 0]


# --- What does not fit ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("side", "first", "rows"), [(2, 0, 1), (-1, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, -5), (0, 0, 11), (0, 9, 2)]
)
def test_rows_that_the_program_has_no_room_for_are_not_counted(side: int, first: int, rows: int) -> None:
    counted = Counted([number(0, 0.0, 1.0)], 11, 2, rows_max=10)
    counted.count(np.zeros((10, 2), np.float32), np.zeros(10, np.uint8))
    before = counted.read()
    assert count_rows(counted.program.words, side, first, rows) == 0
    assert (counted.read() == before).all()


def test_a_tensor_that_is_shorter_than_its_batch_is_not_read() -> None:
    counted = Counted([number(0, 0.0, 1.0), number(0, 0.0, 1.0, tensor="y")], 11, 2)
    x = np.zeros((10, 2), np.float32)
    counted.program.point_at(MAIN, 0, x)
    counted.program.point_at(MAIN, 1, x[:9])
    assert count_rows(counted.program.words, MAIN, 0, 10) == 0
    assert count_rows(counted.program.words, MAIN, 0, 9) == 9


def test_a_program_that_is_cut_off_counts_nothing() -> None:
    counted = Counted([number(0, 0.0, 1.0)], 11, 2)
    assert count_rows(counted.program.words[: layout.PROGRAM_WORDS - 1].copy(), MAIN, 0, 1) == 0


# --- Wide models ----------------------------------------------------------------------------------------------------
def test_a_wide_model_counts_a_share_of_its_rows_without_rhythm() -> None:
    width = 1100
    features = [category(column, 0.0) for column in range(width)]
    assert rows_between(width) == 3
    counted = Counted(features, 11, width, rows_max=6000)
    picked = counted.count(np.zeros((6000, width), np.float32), np.arange(6000) % 16)
    assert 1800 < picked < 2200
    counts = counted.read()
    assert (counts.reshape(16, width, 4).sum(axis=(0, 2)) == picked).all(), "each feature sees the same rows"
    # Every 16th row has the same bucket: a draw of every third row would fill them as evenly as can be, or not at all.
    shares = counts.reshape(16, width, 4)[:, 0].sum(axis=1)
    assert shares.min() > 60
    assert len(set(shares.tolist())) > 4


def test_a_model_that_is_not_wide_counts_every_row() -> None:
    assert [rows_between(features) for features in (1, 512, 513, 1024, 1025)] == [1, 1, 2, 2, 3]


# --- Buckets --------------------------------------------------------------------------------------------------------
def test_rows_of_a_key_share_a_bucket_and_keys_fill_all_of_them_evenly() -> None:
    random = np.random.default_rng(3)
    hashes = random.integers(-(2**62), 2**62, 16_000).tolist()
    buckets = np.array([bucket_of(1, hashed) for hashed in hashes])
    assert (buckets == [bucket_of(1, hashed) for hashed in hashes]).all()
    counts = np.bincount(buckets, minlength=DRIFT_BUCKETS)
    assert ((counts - 1000) ** 2 / 1000).sum() < 45, "chi-square of 15 degrees of freedom, at one in ten thousand"


def test_requests_without_a_key_that_follow_each_other_fill_all_buckets() -> None:
    counts = np.bincount([bucket_of(0, word) for word in range(10**9, 10**9 + 16_000)], minlength=DRIFT_BUCKETS)
    assert ((counts - 1000) ** 2 / 1000).sum() < 45


# --- The plane ------------------------------------------------------------------------------------------------------
def test_counts_go_on_for_the_same_artifact_and_begin_anew_for_another() -> None:
    plane = Plane.create(2)
    reader = DriftReader(plane)
    open_counts(plane.drift(0, 7), 1, 4)[MAIN, 2, 1] += 5
    open_counts(plane.drift(1, 7), 1, 4)[TRIAL, 2, 1] += 6
    open_counts(plane.drift(0, 7), 1, 4)[MAIN, 3, 0] += 1  # its worker was started again
    found = reader.read(7, 1, 4)
    assert found is not None
    assert (found[2, 1], found[3, 0], found.sum()) == (11, 1, 12)
    open_counts(plane.drift(0, 7), 2, 4)
    assert reader.read(7, 2, 4).sum() == 0  # type: ignore[union-attr]
    found = reader.read(7, 1, 4)
    assert found is not None
    assert found.sum() == 6, "of the worker that still holds the other"


def test_the_document_and_the_kernels_agree_on_what_they_share() -> None:
    assert (BINS_MAX, ARGMAX) == (DRIFT_BINS_MAX, layout.ARGMAX)


def test_nobody_reads_what_nobody_has_counted() -> None:
    plane = Plane.create(1)
    assert DriftReader(plane).read(0, 1, 4) is None
    open_counts(plane.drift(0, 0), 1, 5)
    assert DriftReader(plane).read(0, 1, 4) is None, "of another width"


def test_a_seat_has_room_for_the_widest_baseline_and_none_touches_the_next() -> None:
    plane = Plane.create(1)
    open_counts(plane.drift(0, 1), 1, DRIFT_BINS_MAX)[:] = 1
    open_counts(plane.drift(0, 0), 1, DRIFT_BINS_MAX)[:] = 2
    found = DriftReader(plane).read(1, 1, DRIFT_BINS_MAX)
    assert found is not None
    assert set(found.ravel().tolist()) == {2}
    assert DriftReader(plane).read(2, 1, DRIFT_BINS_MAX) is None


def test_features_that_do_not_fit_are_our_own_mistake() -> None:
    feature = CountedFeature(0, 0, np.array([0.0, 1.0]), np.array([0, 1, 2]), 5)
    counts = np.zeros((2, 16, 5), np.int64)
    Program([CountedTensor(11, 1)], [], [feature], [], counts, 4)
    for wrong in (
        replace(feature, element=1),
        replace(feature, thresholds=np.array([1.0, 1.0])),
        replace(feature, targets=np.array([0, 1, 3])),
        replace(feature, targets=np.array([0, 1])),
    ):
        with pytest.raises(AssertionError):
            Program([CountedTensor(11, 1)], [], [wrong], [], counts, 4)
    with pytest.raises(AssertionError, match="text"):
        Program([CountedTensor(BYTES, 1)], [], [feature], [], counts, 4)
