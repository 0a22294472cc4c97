"""Rows that were answered are counted by bin, against the baseline of the model that answered them.

Used by the batch loop, by shadows and by calls that run by themselves; `native.drift` does the work, once per batch.
Always: a row is counted once, where its model's run succeeded; on each side one thread counts at a time, the one in
which runs of that side are made. A model without a baseline has no counter.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from native.drift.count import bucket_of, count_rows, note_arena
from native.drift.program import CountedFeature, CountedTensor, Program
from native.plane.drift import OWN, open_counts
from registry_client.baseline.bins import thresholds
from registry_client.baseline.document import Baseline, Feature
from registry_client.tensors import Signature, TensorSpec
from server.worker.routing import Routed

Words = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


class RowCounter:
    """Counts for one artifact in its seat. It fits the signature: that was checked when the bundle was verified.

    region: this worker's and seat's part of the plane, see `native.plane.drift`. rows_max: of a batch. against: whose
    baseline it is, where it is another artifact's. rows_between: of which one is counted; None: as many as the baseline
    makes it. beside: counts the same rows, too.
    """

    def __init__(
        self,
        baseline: Baseline,
        signature: Signature,
        region: Words,
        generation: int,
        rows_max: int,
        seed: int,
        *,
        against: int = OWN,
        rows_between: int | None = None,
    ) -> None:
        self.beside: RowCounter | None = None
        bins = sum(len(feature.counts) for feature in (*baseline.inputs, *baseline.predictions))
        self._program = Program(
            _tensors(signature.inputs, baseline.inputs),
            _tensors(signature.outputs, baseline.predictions),
            [_feature(feature, signature.inputs) for feature in baseline.inputs],
            [_feature(feature, signature.outputs) for feature in baseline.predictions],
            open_counts(region, generation, bins, against),
            rows_max,
            seed,
            rows_between,
        )
        self._words = self._program.words
        self._rows_max = rows_max
        counted = {feature.tensor for feature in (*baseline.inputs, *baseline.predictions)}
        specs = (*signature.inputs, *signature.outputs)
        self._counted = [(index, spec.name) for index, spec in enumerate(specs) if spec.name in counted]

    def note(self, lane: Words, side: int, arena: int) -> None:
        """Before a taken arena runs, on the loop: whose its rows are, and where. See `note_arena`."""
        note_arena(lane, self._words, side, arena)
        if (beside := self.beside) is not None:
            beside.note(lane, side, arena)

    def count(self, side: int, first: int, rows: int) -> None:
        """Rows of the arena that was noted, once it has run and while nothing else may have it."""
        count_rows(self._words, side, first, rows)
        # Counting beside may have begun since the arena was noted: then it counts nothing yet.
        if (beside := self.beside) is not None:
            beside.count(side, first, rows)

    def buckets(self, side: int, rows: int) -> npt.NDArray[np.uint8]:
        """uint8[rows], a copy: those of the last arena that was noted."""
        return self._program.buckets[side, :rows].copy()

    def count_arrays(self, side: int, arrays: Mapping[str, Array], buckets: npt.NDArray[np.uint8]) -> None:
        """Rows of inputs and outputs by name, [rows, ...] each, in the thread in which their run was made.

        buckets: uint8[rows], or uint8[1], the one of all rows. Arrays whose rows are not as many are not counted.
        """
        counted = [(index, np.ascontiguousarray(arrays[name])) for index, name in self._counted]
        rows = len(counted[0][1])
        for start in range(0, rows, self._rows_max):
            chunk = min(rows - start, self._rows_max)
            for index, array in counted:
                self._program.point_at(side, index, array[start : start + chunk])
            self._program.buckets[side, :chunk] = buckets[start : start + chunk] if buckets.size > 1 else buckets
            count_rows(self._words, side, 0, chunk)
        if (beside := self.beside) is not None:
            beside.count_arrays(side, arrays, buckets)


def bucket_of_call(routed: Routed | None) -> npt.NDArray[np.uint8]:
    """uint8[1]: of the rows of a call that runs by itself."""
    keyed, word = (routed.keyed, routed.hashed) if routed is not None and routed.keyed else (0, time.monotonic_ns())
    return np.array([bucket_of(keyed, word)], dtype=np.uint8)


def _tensors(specs: tuple[TensorSpec, ...], features: tuple[Feature, ...]) -> list[CountedTensor]:
    counted = {feature.tensor for feature in features}
    return [CountedTensor(spec.datatype.code, spec.row_elements if spec.name in counted else 0) for spec in specs]


def _feature(feature: Feature, specs: tuple[TensorSpec, ...]) -> CountedFeature:
    tensor = [spec.name for spec in specs].index(feature.tensor)
    return CountedFeature(tensor, feature.column, *thresholds(feature), len(feature.counts))
