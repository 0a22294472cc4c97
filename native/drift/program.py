"""Counting programs: the tables of `layout`, made from what a baseline says, and kept alive.

Used by the worker, once for each model that it loads. Numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from native.drift import layout
from native.plane.layout import DRIFT_BUCKETS, DRIFT_SIDES
from native.wire.datatypes import DATATYPES

Words = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Of more features than these, not every row is counted.
FEATURES_OF_EVERY_ROW = 512


@dataclass(frozen=True)
class CountedTensor:
    """A tensor. datatype: a code of `native.wire.datatypes`; row_elements: in one row, 0 where it is not counted."""

    datatype: int
    row_elements: int


@dataclass(frozen=True)
class CountedFeature:
    """A column of a tensor. tensor: its place among inputs, or among outputs. element: its place in a row, or ARGMAX.

    thresholds: float64[T], rising; targets: int64[T + 1], the bin above so many of them. bins: of this feature, the
    last two of which are missing and non-finite.
    """

    tensor: int
    element: int
    thresholds: Floats
    targets: Words
    bins: int


def rows_between(features: int) -> int:
    """One row of so many is counted for a model with so many features."""
    return max(1, -(-features // FEATURES_OF_EVERY_ROW))


class Program:
    """What the kernels of `count` go by: `words`, int64[PROGRAM_WORDS]. All arrays live as long as this object.

    inputs, outputs: the model's tensors; input_features, output_features: columns of them, in the order of their bins.
    counts: int64[DRIFT_SIDES, DRIFT_BUCKETS, bins], shared. rows_max: of a batch. seed: of the draw of rows.
    """

    def __init__(
        self,
        inputs: Sequence[CountedTensor],
        outputs: Sequence[CountedTensor],
        input_features: Sequence[CountedFeature],
        output_features: Sequence[CountedFeature],
        counts: Words,
        rows_max: int,
        seed: int = 0,
        every: int | None = None,
    ) -> None:
        tensors = (*inputs, *outputs)
        features = (*input_features, *output_features)
        bins = sum(feature.bins for feature in features)
        assert counts.shape == (DRIFT_SIDES, DRIFT_BUCKETS, bins), (counts.shape, bins)
        assert counts.flags.c_contiguous
        assert rows_max >= 1
        self.counts = counts
        self.tensors: Words = np.zeros((DRIFT_SIDES, len(tensors), layout.TENSOR_WORDS), dtype=np.int64)
        for index, tensor in enumerate(tensors):
            self.tensors[:, index, layout.TENSOR_DATATYPE] = tensor.datatype
            self.tensors[:, index, layout.TENSOR_ROW_ELEMENTS] = tensor.row_elements
            self.tensors[:, index, layout.TENSOR_ELEMENT_BYTES] = DATATYPES[tensor.datatype].width_bytes
        self._features: Words = np.zeros((len(features), layout.FEATURE_WORDS), dtype=np.int64)
        filled = [_filled_up(feature) for feature in features]
        thresholds: list[Floats] = []
        targets: list[Words] = []
        bins_at = 0
        for index, feature in enumerate(filled):
            tensor_index = feature.tensor + (len(inputs) if index >= len(input_features) else 0)
            _check(features[index], tensors[tensor_index])
            self._features[index] = (
                tensor_index, feature.element,
                sum(part.size for part in thresholds), feature.thresholds.size,
                sum(part.size for part in targets), bins_at,
            )  # fmt: skip
            thresholds.append(feature.thresholds)
            targets.append(np.concatenate([feature.targets, [feature.bins - 2, feature.bins - 1]]))
            bins_at += feature.bins
        self._thresholds: Floats = np.concatenate([np.zeros(0), *thresholds])
        self._thresholds_32 = rounded_down(self._thresholds)
        self._targets: Words = np.concatenate([np.zeros(0, dtype=np.int64), *targets])
        self.buckets = np.zeros((DRIFT_SIDES, rows_max), dtype=np.uint8)
        self._scratch = np.zeros((DRIFT_SIDES, layout.SCRATCH_BYTES // 8), dtype=np.int64)
        self.words: Words = np.zeros(layout.PROGRAM_WORDS, dtype=np.int64)
        for word, value in {
            layout.PROGRAM_FEATURES: self._features.ctypes.data,
            layout.PROGRAM_FEATURE_COUNT: len(features),
            layout.PROGRAM_TENSORS: self.tensors.ctypes.data,
            layout.PROGRAM_TENSOR_COUNT: len(tensors),
            layout.PROGRAM_INPUT_TENSORS: len(inputs),
            layout.PROGRAM_THRESHOLDS: self._thresholds.ctypes.data,
            layout.PROGRAM_THRESHOLDS_32: self._thresholds_32.ctypes.data,
            layout.PROGRAM_THRESHOLD_COUNT: self._thresholds.size,
            layout.PROGRAM_TARGETS: self._targets.ctypes.data,
            layout.PROGRAM_TARGET_COUNT: self._targets.size,
            layout.PROGRAM_COUNTS: counts.ctypes.data,
            layout.PROGRAM_BINS: bins,
            layout.PROGRAM_BUCKETS: self.buckets.ctypes.data,
            layout.PROGRAM_ROWS_MAX: rows_max,
            layout.PROGRAM_SCRATCH: self._scratch.ctypes.data,
            layout.PROGRAM_EVERY: rows_between(len(features)) if every is None else every,
            layout.PROGRAM_STATE: seed,
            layout.PROGRAM_STATE + 1: ~seed,
        }.items():
            self.words[word] = value

    def point_at(self, side: int, index: int, array: npt.NDArray[np.generic]) -> None:
        """The tensor with this index is `array`, [rows, ...], C-contiguous, for the side's next count."""
        assert array.flags.c_contiguous
        self.tensors[side, index, layout.TENSOR_ADDRESS] = array.ctypes.data
        self.tensors[side, index, layout.TENSOR_BYTES] = array.nbytes


def rounded_down(thresholds: Floats) -> npt.NDArray[np.float32]:
    """float32[T]: the largest that is not above each: a float32 is above one exactly where it is above the other."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _filled_up(feature: CountedFeature) -> CountedFeature:
    """With infinities, to a multiple of AT_A_TIME thresholds: nothing is above them, so their targets are nobody's."""
    missing = -feature.thresholds.size % layout.AT_A_TIME
    thresholds = np.concatenate([feature.thresholds, np.full(missing, np.inf)])
    targets = np.concatenate([feature.targets, np.full(missing, feature.targets[-1])])
    return replace(feature, thresholds=thresholds, targets=targets)


def _check(feature: CountedFeature, tensor: CountedTensor) -> None:
    assert DATATYPES[tensor.datatype].width_bytes > 0, "text has no bins"
    assert layout.ARGMAX <= feature.element < tensor.row_elements, feature.element
    assert feature.targets.size == feature.thresholds.size + 1
    assert feature.bins >= 3
    assert 0 <= feature.targets.min() <= feature.targets.max() < feature.bins - 2, "the last two are not of thresholds"
    assert (np.diff(feature.thresholds) > 0).all()
