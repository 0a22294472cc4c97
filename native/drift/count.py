"""Counting a batch's rows by bin: `bin = targets[sum(value > threshold)]`, over a copy of one column at a time.

Used by the worker once per batch, on the loop or in the thread in which the batch ran. The sums vectorise, where a
search for the bin does not: about 1 ns a value and ten thresholds, beside as much for copying and adding up.
Always: a batch whose tensors or rows don't fit the program is not counted at all. Oracle: tests/oracles/binning.py.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from native.batch.layout import ARENA
from native.drift.layout import (
    ARGMAX,
    AT_A_TIME,
    CHUNK,
    FEATURE_BINS_AT,
    FEATURE_ELEMENT,
    FEATURE_TARGETS_AT,
    FEATURE_TENSOR,
    FEATURE_THRESHOLDS,
    FEATURE_THRESHOLDS_AT,
    FEATURE_WORDS,
    PROGRAM_BINS,
    PROGRAM_BUCKETS,
    PROGRAM_COUNTS,
    PROGRAM_EVERY,
    PROGRAM_FEATURE_COUNT,
    PROGRAM_FEATURES,
    PROGRAM_INPUT_TENSORS,
    PROGRAM_ROWS_MAX,
    PROGRAM_SCRATCH,
    PROGRAM_STATE,
    PROGRAM_TARGET_COUNT,
    PROGRAM_TARGETS,
    PROGRAM_TENSOR_COUNT,
    PROGRAM_TENSORS,
    PROGRAM_THRESHOLD_COUNT,
    PROGRAM_THRESHOLDS,
    PROGRAM_THRESHOLDS_32,
    PROGRAM_WORDS,
    SCRATCH_BUCKETS,
    SCRATCH_BYTES,
    SCRATCH_PICKED,
    SCRATCH_PLACES,
    SCRATCH_VALUES,
    SCRATCH_VALUES_32,
    SMALL,
    TENSOR_ADDRESS,
    TENSOR_BYTES,
    TENSOR_DATATYPE,
    TENSOR_ELEMENT_BYTES,
    TENSOR_ROW_ELEMENTS,
    TENSOR_WORDS,
)
from native.drift.values import element_value, largest_place
from native.inner import inner
from native.lane.layout import (
    LANE_ARENA_COUNT,
    LANE_ARENA_SLOTS,
    LANE_ARENAS,
    LANE_DIRECTORY_TABLE,
    LANE_DIRECTORY_WORDS,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    SLOT,
)
from native.plane.layout import DRIFT_BUCKETS, DRIFT_SIDES
from native.pointers import pointer
from native.route.split import GAMMA, mixed
from native.wire.datatypes import FP32
from native.wire.directory import (
    HEADER_WORDS,
    MODEL_INPUT_COUNT,
    MODEL_INPUTS_AT,
    MODEL_OUTPUT_COUNT,
    MODEL_OUTPUTS_AT,
    MODEL_WORDS,
    TENSOR_COLUMN_OFFSET,
    TENSOR_ROW_BYTES,
)
from native.wire.directory import TENSOR_WORDS as DIRECTORY_TENSOR_WORDS
from native.wire.kernel import Words, int64, kernel

# Another turn of a key's hash than any that splits traffic, or a variant would fill some buckets only.
BUCKET_TURN = 0x5851F42D4C957F2D
NO_ROW = -1


@kernel("int64(int64, int64)")
def bucket_of(keyed: int, word: int) -> int:
    """The bucket of a request's rows: by its key's hash, else by a word that is no other request's."""
    return mixed((word ^ BUCKET_TURN) if keyed == 1 else word * GAMMA) & (DRIFT_BUCKETS - 1)


@kernel(
    [
        "void(float32[::1], int64, float32[::1], int64, int64, int32[::1])",
        "void(float64[::1], int64, float64[::1], int64, int64, int32[::1])",
    ]
)
def _place(values: Words, rows: int, thresholds: Words, first: int, count: int, places: Words) -> None:
    """places[i]: how many thresholds values[i] is above; count + 1 for NaN, count + 2 for an infinity.

    count: a multiple of AT_A_TIME, at least that. To take four at a time saves loops, which small batches have many of.
    """
    if rows < SMALL:
        for row in range(rows):
            value = values[row]
            place = np.int32(0)
            for threshold in range(count):
                place += np.int32(value > thresholds[first + threshold])
            places[row] = place
    else:
        for row in range(rows):
            places[row] = 0
        for threshold in range(first, first + count, AT_A_TIME):
            one, two = thresholds[threshold], thresholds[threshold + 1]
            three, four = thresholds[threshold + 2], thresholds[threshold + 3]
            for row in range(rows):
                value = values[row]
                below = np.int32(value > one) + np.int32(value > two)
                places[row] += below + np.int32(value > three) + np.int32(value > four)
    for row in range(rows):
        value = values[row]
        if value != value:
            places[row] = count + 1
        elif abs(value) == np.inf:
            places[row] = count + 2


@kernel("void(int64[::1], int64, int64, int64)")
def _add(program: Words, side: int, feature: int, rows: int) -> None:
    """One more in the bin of each row that was placed, in the part of its bucket."""
    features = carray(pointer(program[PROGRAM_FEATURES]), (program[PROGRAM_FEATURE_COUNT], FEATURE_WORDS), np.int64)
    scratch = program[PROGRAM_SCRATCH] + side * SCRATCH_BYTES
    places = carray(pointer(scratch + SCRATCH_PLACES), (CHUNK,), np.int32)
    buckets = carray(pointer(scratch + SCRATCH_BUCKETS), (CHUNK,), np.int64)
    targets = carray(pointer(program[PROGRAM_TARGETS]), (program[PROGRAM_TARGET_COUNT],), np.int64)
    bins = program[PROGRAM_BINS]
    counts = carray(
        pointer(program[PROGRAM_COUNTS] + side * DRIFT_BUCKETS * bins * 8), (DRIFT_BUCKETS * bins,), np.int64
    )
    targets_at = features[feature, FEATURE_TARGETS_AT]
    bins_at = features[feature, FEATURE_BINS_AT]
    for row in range(rows):
        counts[buckets[row] + bins_at + targets[targets_at + places[row]]] += 1


@inner("void(int64[::1], int64, int64, int64, int64)")
def _count_feature(program: Words, side: int, feature: int, first_row: int, rows: int) -> None:
    """Counts `rows` rows of a chunk: those from first_row on, or those picked where first_row is NO_ROW."""
    features = carray(pointer(program[PROGRAM_FEATURES]), (program[PROGRAM_FEATURE_COUNT], FEATURE_WORDS), np.int64)
    tensors = carray(
        pointer(program[PROGRAM_TENSORS]), (DRIFT_SIDES, program[PROGRAM_TENSOR_COUNT], TENSOR_WORDS), np.int64
    )
    scratch = program[PROGRAM_SCRATCH] + side * SCRATCH_BYTES
    values_32 = carray(pointer(scratch + SCRATCH_VALUES_32), (CHUNK,), np.float32)
    values = carray(pointer(scratch + SCRATCH_VALUES), (CHUNK,), np.float64)
    places = carray(pointer(scratch + SCRATCH_PLACES), (CHUNK,), np.int32)
    picked = carray(pointer(scratch + SCRATCH_PICKED), (CHUNK,), np.int64)
    thresholds = carray(pointer(program[PROGRAM_THRESHOLDS]), (program[PROGRAM_THRESHOLD_COUNT],), np.float64)
    thresholds_32 = carray(pointer(program[PROGRAM_THRESHOLDS_32]), (program[PROGRAM_THRESHOLD_COUNT],), np.float32)
    tensor = features[feature, FEATURE_TENSOR]
    element = features[feature, FEATURE_ELEMENT]
    address = tensors[side, tensor, TENSOR_ADDRESS]
    datatype = tensors[side, tensor, TENSOR_DATATYPE]
    elements = tensors[side, tensor, TENSOR_ROW_ELEMENTS]
    element_bytes = tensors[side, tensor, TENSOR_ELEMENT_BYTES]
    count = features[feature, FEATURE_THRESHOLDS]
    first = features[feature, FEATURE_THRESHOLDS_AT]
    if datatype == FP32 and element != ARGMAX:
        column = carray(pointer(address), (tensors[side, tensor, TENSOR_BYTES] // 4,), np.float32)
        if first_row != NO_ROW:
            for index in range(rows):
                values_32[index] = column[(first_row + index) * elements + element]
        else:
            for index in range(rows):
                values_32[index] = column[picked[index] * elements + element]
        _place(values_32, rows, thresholds_32, first, count, places)
    else:
        for index in range(rows):
            row = address + (picked[index] if first_row == NO_ROW else first_row + index) * elements * element_bytes
            if element == ARGMAX:
                values[index] = largest_place(row, datatype, elements, element_bytes)
            else:
                values[index] = element_value(row + element * element_bytes, datatype)
        _place(values, rows, thresholds, first, count, places)
    _add(program, side, feature, rows)


@inner("int64(int64[::1], int64, int64, int64)")
def _pick(program: Words, side: int, first_row: int, rows: int) -> int:
    """Chooses the rows of a chunk that are to be counted, all unless the program samples; how many.

    Notes where the counts of their buckets begin, and, where it samples, which rows they are.
    """
    scratch = program[PROGRAM_SCRATCH] + side * SCRATCH_BYTES
    picked = carray(pointer(scratch + SCRATCH_PICKED), (CHUNK,), np.int64)
    begins = carray(pointer(scratch + SCRATCH_BUCKETS), (CHUNK,), np.int64)
    rows_max = program[PROGRAM_ROWS_MAX]
    buckets = carray(pointer(program[PROGRAM_BUCKETS] + side * rows_max), (rows_max,), np.uint8)
    bins = program[PROGRAM_BINS]
    every = program[PROGRAM_EVERY]
    if every <= 1:
        for index in range(rows):
            begins[index] = int64(buckets[first_row + index]) * bins
        return rows
    count = int64(0)
    state = program[PROGRAM_STATE + side]
    for index in range(rows):
        # Drawn, not every so many rows: a caller's own rhythm must not decide what is seen.
        state += GAMMA
        if (mixed(state) & 0x7FFFFFFFFFFFFFFF) % every == 0:
            picked[count] = first_row + index
            begins[count] = int64(buckets[first_row + index]) * bins
            count += 1
    program[PROGRAM_STATE + side] = state
    return count


@kernel("int64(int64[::1], int64, int64, int64)")
def count_rows(program: Words, side: int, first_row: int, rows: int) -> int:
    """Adds rows first_row to first_row + rows of the tensors pointed at to the side's counts; how many were counted.

    None where a tensor is too short for them, or the program is for fewer rows. Of a program that samples, so many as
    were drawn.
    """
    if program.size < PROGRAM_WORDS or side < 0 or side >= DRIFT_SIDES:
        return 0
    if first_row < 0 or rows <= 0 or rows > program[PROGRAM_ROWS_MAX] - first_row:
        return 0
    tensor_count = program[PROGRAM_TENSOR_COUNT]
    tensors = carray(pointer(program[PROGRAM_TENSORS]), (DRIFT_SIDES, tensor_count, TENSOR_WORDS), np.int64)
    for index in range(tensor_count):
        row_bytes = tensors[side, index, TENSOR_ROW_ELEMENTS] * tensors[side, index, TENSOR_ELEMENT_BYTES]
        if row_bytes > 0 and tensors[side, index, TENSOR_BYTES] // row_bytes < first_row + rows:
            return 0
    counted = int64(0)
    for start in range(0, rows, CHUNK):
        chosen = _pick(program, side, first_row + start, min(rows - start, CHUNK))
        counted += chosen
        row = first_row + start if program[PROGRAM_EVERY] <= 1 else int64(NO_ROW)
        for feature in range(program[PROGRAM_FEATURE_COUNT]):
            _count_feature(program, side, feature, row, chosen)
    return counted


@inner("void(int64[::1], int64[::1], int64, int64)")
def _note_buckets(lane: Words, program: Words, side: int, arena_index: int) -> None:
    """Writes down which bucket each row of a taken arena belongs to, while its requests' slots are their own."""
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    rows_max = program[PROGRAM_ROWS_MAX]
    buckets = carray(pointer(program[PROGRAM_BUCKETS] + side * rows_max), (rows_max,), np.uint8)
    arena = arenas[arena_index]
    requests = carray(pointer(lane[LANE_ARENA_SLOTS]), (arena.first_request + arena.requests,), np.int64)
    for request in range(arena.requests):
        index = requests[arena.first_request + request]
        slot = slots[index]
        bucket = bucket_of(slot.keyed, slot.key_hash if slot.keyed == 1 else slot.arrived_ns * 65_537 + index)
        for row in range(slot.row, min(slot.row + slot.rows, rows_max)):
            buckets[row] = bucket


@inner("void(int64[::1], int64[::1], int64, int64)")
def _point_at_arena(lane: Words, program: Words, side: int, arena_index: int) -> None:
    """Notes where an arena's tensors are; that they have no bytes, where they are not those of the program.

    An arena that another model's traffic left behind is laid out for that model, whose signature is the same.
    """
    arenas = carray(pointer(lane[LANE_ARENAS]), (lane[LANE_ARENA_COUNT],), ARENA)
    table = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
    count = program[PROGRAM_TENSOR_COUNT]
    tensors = carray(pointer(program[PROGRAM_TENSORS]), (DRIFT_SIDES, count, TENSOR_WORDS), np.int64)
    arena = arenas[arena_index]
    record = HEADER_WORDS + arena.model * MODEL_WORDS
    inputs = table[record + MODEL_INPUT_COUNT]
    fits = inputs == program[PROGRAM_INPUT_TENSORS] and inputs + table[record + MODEL_OUTPUT_COUNT] == count
    for index in range(count):
        tensors[side, index, TENSOR_BYTES] = 0
        if not fits:
            continue
        is_input = index < inputs
        first = table[record + MODEL_INPUTS_AT] if is_input else table[record + MODEL_OUTPUTS_AT]
        at = first + (index if is_input else index - inputs) * DIRECTORY_TENSOR_WORDS
        offset = table[at + TENSOR_COLUMN_OFFSET]
        row_bytes = tensors[side, index, TENSOR_ROW_ELEMENTS] * tensors[side, index, TENSOR_ELEMENT_BYTES]
        block_bytes = arena.input_bytes if is_input else arena.output_bytes
        if offset > block_bytes or (row_bytes > 0 and table[at + TENSOR_ROW_BYTES] != row_bytes):
            continue
        tensors[side, index, TENSOR_ADDRESS] = (arena.input_address if is_input else arena.output_address) + offset
        tensors[side, index, TENSOR_BYTES] = block_bytes - offset


@kernel("void(int64[::1], int64[::1], int64, int64)")
def note_arena(lane: Words, program: Words, side: int, arena_index: int) -> None:
    """Writes down whose the rows of a taken arena are, and where its tensors are. On the loop, before it runs.

    `count_rows` then counts them once it has run, in whatever thread: the lane's tables may be elsewhere by then, since
    the loop makes them anew whenever a model comes or goes, but the arena's block stays as long as it runs.
    """
    _note_buckets(lane, program, side, arena_index)
    _point_at_arena(lane, program, side, arena_index)
