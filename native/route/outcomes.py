"""What became of requests, counted by the seat that answered and the weights under which they were split.

Used as a batch is answered. Always: a request counts once; as evidence only where the split alone decided who answers.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from native.inner import inner
from native.lane.layout import (
    LANE_AGE_LIMIT_NS,
    LANE_CELLS,
    LANE_COUNTERS,
    LANE_DIRECTORY_TABLE,
    LANE_DIRECTORY_WORDS,
    LANE_DIRTY_CELLS,
    LANE_DIRTY_COUNT,
    LANE_NOW_NS,
    LANE_PLANE_ROUTING,
    LANE_ROUTES,
    LANE_SEATS,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    LANE_STRAIN,
    LANE_WORKER_ROUTING,
    SLOT,
    STRAIN_LATE,
    STRAIN_NONE,
)
from native.plane.counters import COUNTERS_LENGTH, LATE_EXCUSED
from native.plane.evidence import CELLS_COUNT, first_event, first_request, open_cell, publish_cell
from native.plane.routing import (
    CELL_ANSWERED,
    CELL_FAILED,
    CELL_REQUESTS,
    CELL_ROWS,
    CELL_SEQUENCE,
    CELL_SHADOW_ERRORS,
    CELL_SHADOW_NON_FINITE,
    CELL_SHADOW_SKIPPED,
    CELL_SHADOWED,
    CELL_UNITS,
    CELL_WORDS,
    EVENT_ERROR,
    EVENT_NON_FINITE,
    EVENT_NONE,
    EVENT_TIMEOUT,
    MODELS_MAX,
    ROUTING_WORDS,
    SEATS_MAX,
    WORKER_ROUTING_WORDS,
)
from native.pointers import pointer
from native.route.layout import ROUTE, SEAT
from native.wire.datatypes import BF16, FP16, FP32, FP64
from native.wire.directory import (
    HEADER_WORDS,
    MODEL_OUTPUT_COUNT,
    MODEL_OUTPUTS_AT,
    MODEL_WORDS,
    TENSOR_COLUMN_OFFSET,
    TENSOR_DATATYPE,
    TENSOR_ROW_ELEMENTS,
    TENSOR_WORDS,
)
from native.wire.kernel import Words, int64, kernel

# The exponents' bits: all of them are set in infinities and NaN, and in nothing else.
EXPONENT_FP16 = 0x7C00
EXPONENT_BF16 = 0x7F80
EXPONENT_FP32 = 0x7F800000
EXPONENT_FP64 = 0x7FF0000000000000


@inner("int64(int64, int64, int64, int64)")
def _all_finite(address: int, datatype: int, first: int, count: int) -> int:
    """1 where elements [first, first + count) of a column of this type are finite. The caller has checked the range."""
    bad = int64(0)
    if datatype == FP32:
        words = carray(pointer(address), (first + count,), np.uint32)
        for index in range(first, first + count):
            bad += int64((words[index] & np.uint32(EXPONENT_FP32)) == np.uint32(EXPONENT_FP32))
    elif datatype == FP64:
        wide = carray(pointer(address), (first + count,), np.int64)
        for index in range(first, first + count):
            bad += int64((wide[index] & EXPONENT_FP64) == EXPONENT_FP64)
    elif datatype in (FP16, BF16):
        exponent = np.uint16(EXPONENT_FP16 if datatype == FP16 else EXPONENT_BF16)
        halves = carray(pointer(address), (first + count,), np.uint16)
        for index in range(first, first + count):
            bad += int64((halves[index] & exponent) == exponent)
    return int64(bad == 0)


@kernel("int64(int64[::1], int64, int64, int64, int64)")
def rows_finite(lane: Words, seat: int, output_address: int, row: int, rows: int) -> int:
    """1 where all floats that a seat's model put into these rows of an output block are finite.

    output_address: of a block laid out by the directory, with room for at least row + rows rows.
    """
    table = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
    record = HEADER_WORDS + seat * MODEL_WORDS
    first = table[record + MODEL_OUTPUTS_AT]
    for tensor in range(table[record + MODEL_OUTPUT_COUNT]):
        at = first + tensor * TENSOR_WORDS
        elements = table[at + TENSOR_ROW_ELEMENTS]
        address = output_address + table[at + TENSOR_COLUMN_OFFSET]
        if _all_finite(address, table[at + TENSOR_DATATYPE], row * elements, rows * elements) == 0:
            return 0
    return 1


@kernel("int64(int64[::1], int64, int64)")
def _cell(lane: Words, seat: int, weight_epoch: int) -> int:
    """Offset of the cell to count in, noted as one that is to be published; -1 where there is none."""
    if lane[LANE_CELLS] == 0 or seat < 0 or seat >= SEATS_MAX:
        return -1
    cells = carray(pointer(lane[LANE_CELLS]), (CELLS_COUNT * CELL_WORDS,), np.int64)
    seats = carray(pointer(lane[LANE_SEATS]), (SEATS_MAX,), SEAT)
    at = open_cell(cells, seat, seats[seat].generation, weight_epoch)
    if at >= 0 and cells[at + CELL_SEQUENCE] == 0:
        # A private cell has no readers: its sequence says whether it is on the list.
        cells[at + CELL_SEQUENCE] = 1
        dirty = carray(pointer(lane[LANE_DIRTY_CELLS]), (CELLS_COUNT,), np.int64)
        dirty[lane[LANE_DIRTY_COUNT]] = at
        lane[LANE_DIRTY_COUNT] += 1
    return at


@kernel("void(int64[::1], int64, int64, int64, int64, int64, int64, int64, int64)")
def count_call(
    lane: Words, seat: int, route: int, weight_epoch: int, evidence: int, keyed: int, hashed: int, rows: int, event: int
) -> None:
    """Counts an answered request that has no slot. event: EVENT_*.

    Of a key only the first event counts in CELL_ERRORS and so on, and its first request to the canary in CELL_UNITS.
    """
    at = _cell(lane, seat, weight_epoch)
    if at < 0:
        return
    cells = carray(pointer(lane[LANE_CELLS]), (CELLS_COUNT * CELL_WORDS,), np.int64)
    cells[at + CELL_ANSWERED] += 1
    cells[at + CELL_ROWS] += rows
    if event in (EVENT_ERROR, EVENT_TIMEOUT):
        cells[at + CELL_FAILED] += 1
    if evidence == 0:
        return
    cells[at + CELL_REQUESTS] += 1
    routing = carray(pointer(lane[LANE_PLANE_ROUTING]), (ROUTING_WORDS,), np.int64)
    # Units are counted of the canary alone: they are what its absolute rate is measured by. Others' keys cost nothing.
    if 0 <= route < MODELS_MAX and carray(pointer(lane[LANE_ROUTES]), (MODELS_MAX,), ROUTE)[route].canary == seat:
        cells[at + CELL_UNITS] += first_request(routing, route, hashed) if keyed == 1 else 1
    if event == EVENT_NONE:
        return
    cells[at + CELL_UNITS + event] += 1
    if keyed == 0 or first_event(routing, route, hashed) == 1:
        cells[at + CELL_REQUESTS + event] += 1


@kernel("void(int64[::1], int64, int64)")
def count_outcome(lane: Words, slot_index: int, event: int) -> None:
    """Counts an answered request, by the seat that its slot names now. event: EVENT_*."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[slot_index]
    count_call(
        lane, slot.model, slot.route, slot.weight_epoch, slot.evidence, slot.keyed, slot.key_hash, slot.rows, event
    )


@kernel("int64(int64[::1], int64, int64)")
def evidence_of(lane: Words, evidence: int, event: int) -> int:
    """`evidence`, 0 where an answer's being late, or in time, says nothing about who gave it: see STRAIN_*.

    event: EVENT_TIMEOUT for a late answer.
    """
    strain = lane[LANE_STRAIN]
    if strain == STRAIN_NONE or evidence == 0:
        return evidence
    if event == EVENT_TIMEOUT:
        counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
        counters[LATE_EXCUSED] += 1
        return 0
    if event == EVENT_NONE and strain == STRAIN_LATE:
        return 0
    return evidence


@inner("void(int64[::1], int64, int64)")
def count_answered(lane: Words, slot_index: int, output_address: int) -> None:
    """Counts a request whose rows were run and lie in an output block: not finite, late, or well."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[slot_index]
    if lane[LANE_CELLS] == 0:
        return
    event = EVENT_NONE
    if rows_finite(lane, slot.model, output_address, slot.row, slot.rows) == 0:
        event = EVENT_NON_FINITE
    elif lane[LANE_NOW_NS] - slot.arrived_ns > lane[LANE_AGE_LIMIT_NS]:
        event = EVENT_TIMEOUT
    evidence = evidence_of(lane, slot.evidence, event)
    count_call(lane, slot.model, slot.route, slot.weight_epoch, evidence, slot.keyed, slot.key_hash, slot.rows, event)


@kernel("void(int64[::1], int64, int64, int64, int64, int64)")
def count_shadow(lane: Words, seat: int, weight_epoch: int, rows: int, outcome: int, non_finite: int) -> None:
    """Counts a batch that a shadow ran, or skipped. outcome: EVENT_NONE (run), EVENT_ERROR, or EVENT_TIMEOUT (skipped).

    non_finite: rows of it whose outputs are no numbers.
    """
    at = _cell(lane, seat, weight_epoch)
    if at < 0:
        return
    cells = carray(pointer(lane[LANE_CELLS]), (CELLS_COUNT * CELL_WORDS,), np.int64)
    if outcome == EVENT_TIMEOUT:
        cells[at + CELL_SHADOW_SKIPPED] += rows
        return
    cells[at + CELL_SHADOWED] += rows
    if outcome == EVENT_ERROR:
        cells[at + CELL_SHADOW_ERRORS] += rows
    cells[at + CELL_SHADOW_NON_FINITE] += non_finite


@kernel("void(int64[::1])")
def publish_evidence(lane: Words) -> None:
    """Commits the cells that changed to the plane. Once per batch, after its requests were counted."""
    if lane[LANE_DIRTY_COUNT] == 0:
        return
    cells = carray(pointer(lane[LANE_CELLS]), (CELLS_COUNT * CELL_WORDS,), np.int64)
    worker_routing = carray(pointer(lane[LANE_WORKER_ROUTING]), (WORKER_ROUTING_WORDS,), np.int64)
    dirty = carray(pointer(lane[LANE_DIRTY_CELLS]), (CELLS_COUNT,), np.int64)
    for index in range(lane[LANE_DIRTY_COUNT]):
        cells[dirty[index] + CELL_SEQUENCE] = 0
        publish_cell(cells, worker_routing, dirty[index])
    lane[LANE_DIRTY_COUNT] = 0
