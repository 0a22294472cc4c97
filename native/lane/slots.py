"""Claiming, tying and releasing slots: the one place where a call's memory and its counts are given back.

Used by the HTTP/2 callbacks and by the batch kernels. Always: a slot is in exactly one place: the stack of free slots,
or claimed; `release_slot` undoes every count that the slot has left in its connection, the lane and the counters.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from native.inner import inner
from native.lane.layout import (
    ASSEMBLING,
    CONNECTION,
    FREE,
    HANDED,
    LANE_ASSEMBLING_BYTES,
    LANE_CONNECTION_COUNT,
    LANE_CONNECTIONS,
    LANE_COUNTERS,
    LANE_FREE_SLOT_COUNT,
    LANE_FREE_SLOTS,
    LANE_HANDED_IN_FLIGHT,
    LANE_NOW_NS,
    LANE_REPLY_BYTES,
    LANE_REQUEST_BYTES,
    LANE_SLOT_COUNT,
    LANE_SLOTS,
    LANE_TOUCHED,
    LANE_TOUCHED_COUNT,
    LENGTH_UNKNOWN,
    NO_CONNECTION,
    NO_SLOT,
    QUEUED,
    REPLY_INLINE_BYTES,
    REQUEST_INLINE_BYTES,
    RUNNING,
    SLOT,
)
from native.plane.counters import ASSEMBLING_BYTES, CANCELLED, COUNTERS_LENGTH, REPLY_BYTES, SLOTS_IN_USE
from native.pointers import free, pointer
from native.wire.kernel import Words, kernel


@kernel("int64(int64[::1], int64)")
def claim_slot(lane: Words, connection_index: int) -> int:
    """Takes a free slot for a call of this connection (NO_CONNECTION: of nobody's), or NO_SLOT."""
    left = lane[LANE_FREE_SLOT_COUNT]
    if left == 0:
        return NO_SLOT
    free_slots = carray(pointer(lane[LANE_FREE_SLOTS]), (lane[LANE_SLOT_COUNT],), np.int64)
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    index = free_slots[left - 1]
    lane[LANE_FREE_SLOT_COUNT] = left - 1
    slot = slots[index]
    slot.generation += 1
    slot.state = ASSEMBLING
    slot.cancelled = 0
    slot.connection = NO_CONNECTION
    slot.executing_of = NO_CONNECTION
    slot.next = NO_SLOT
    slot.previous = NO_SLOT
    slot.encoding = 0
    slot.arrived_ns = lane[LANE_NOW_NS]
    slot.progress_ns = lane[LANE_NOW_NS]
    slot.deadline_ns = 0
    slot.request_address = lane[LANE_REQUEST_BYTES] + index * REQUEST_INLINE_BYTES
    slot.request_capacity_bytes = REQUEST_INLINE_BYTES
    slot.request_bytes = 0
    slot.message_bytes = LENGTH_UNKNOWN
    slot.compressed = 0
    slot.reply_address = lane[LANE_REPLY_BYTES] + index * REPLY_INLINE_BYTES
    slot.reply_capacity_bytes = REPLY_INLINE_BYTES
    slot.reply_start = 0
    slot.reply_end = 0
    slot.reply_open = 0
    slot.responded = 0
    slot.status = 0
    slot.id_bytes = 0
    slot.route = 0
    slot.weight_epoch = 0
    slot.keyed = 0
    slot.key_hash = 0
    slot.pin = 0
    slot.evidence = 1
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    counters[SLOTS_IN_USE] += 1
    if connection_index != NO_CONNECTION:
        connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
        connection = connections[connection_index]
        slot.connection = connection_index
        slot.next = connection.first_slot
        if connection.first_slot != NO_SLOT:
            slots[connection.first_slot].previous = index
        connection.first_slot = index
        connection.slots += 1
    return index


@inner("void(int64[::1], int64)")
def drop_request(lane: Words, index: int) -> None:
    """Gives back the memory of a request's message, once it is read or refused. Safe to repeat."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.request_capacity_bytes > REQUEST_INLINE_BYTES:
        free(slot.request_address)
        lane[LANE_ASSEMBLING_BYTES] -= slot.request_capacity_bytes
        counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
        counters[ASSEMBLING_BYTES] = lane[LANE_ASSEMBLING_BYTES]
        if slot.connection != NO_CONNECTION:
            connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
            connections[slot.connection].assembling_bytes -= slot.request_capacity_bytes
        slot.request_address = lane[LANE_REQUEST_BYTES] + index * REQUEST_INLINE_BYTES
        slot.request_capacity_bytes = REQUEST_INLINE_BYTES
    slot.request_bytes = 0


@inner("void(int64[::1], int64)")
def drop_reply(lane: Words, index: int) -> None:
    """Gives back the memory of a reply, sent or not. Safe to repeat."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    unsent = slot.reply_end - slot.reply_start
    if unsent > 0:
        counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
        counters[REPLY_BYTES] -= unsent
        if slot.connection != NO_CONNECTION:
            connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
            connections[slot.connection].reply_bytes -= unsent
    if slot.reply_capacity_bytes > REPLY_INLINE_BYTES:
        free(slot.reply_address)
        slot.reply_address = lane[LANE_REPLY_BYTES] + index * REPLY_INLINE_BYTES
        slot.reply_capacity_bytes = REPLY_INLINE_BYTES
    slot.reply_start = 0
    slot.reply_end = 0


@inner("void(int64[::1], int64)")
def begin_executing(lane: Words, index: int) -> None:
    """Counts the slot among its connection's executing requests, until `end_executing`."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.connection == NO_CONNECTION:
        return
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[slot.connection]
    connection.executing += 1
    slot.executing_of = slot.connection
    slot.executing_generation = connection.generation


@inner("void(int64[::1], int64)")
def end_executing(lane: Words, index: int) -> None:
    """The work of a slot has ended. Safe to repeat, and after its connection has gone."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.executing_of == NO_CONNECTION:
        return
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[slot.executing_of]
    if connection.generation == slot.executing_generation:
        connection.executing -= 1
    slot.executing_of = NO_CONNECTION


@inner("void(int64[::1], int64)")
def untie_slot(lane: Words, index: int) -> None:
    """Takes the slot out of its connection's list: its stream is gone, its work may go on."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.connection == NO_CONNECTION:
        return
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[slot.connection]
    if slot.previous == NO_SLOT:
        connection.first_slot = slot.next
    else:
        slots[slot.previous].next = slot.next
    if slot.next != NO_SLOT:
        slots[slot.next].previous = slot.previous
    connection.slots -= 1
    slot.connection = NO_CONNECTION
    slot.next = NO_SLOT
    slot.previous = NO_SLOT


@kernel("void(int64[::1], int64)")
def release_slot(lane: Words, index: int) -> None:
    """Gives the slot back, with all that it holds and counts. A free slot is left alone."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    if slot.state == FREE:
        return
    drop_request(lane, index)
    drop_reply(lane, index)
    end_executing(lane, index)
    untie_slot(lane, index)
    if slot.state == HANDED:
        lane[LANE_HANDED_IN_FLIGHT] -= 1
    slot.state = FREE
    free_slots = carray(pointer(lane[LANE_FREE_SLOTS]), (lane[LANE_SLOT_COUNT],), np.int64)
    free_slots[lane[LANE_FREE_SLOT_COUNT]] = index
    lane[LANE_FREE_SLOT_COUNT] += 1
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    counters[SLOTS_IN_USE] -= 1


@inner("int64(int64[::1], int64)")
def abandon_slot(lane: Words, index: int) -> int:
    """The slot's stream is gone. Frees it, or marks it cancelled where work still holds it; 1 where it was queued.

    The caller tells the queue's arena, so that the rows are left out when the batch is sealed.
    """
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[index]
    counters = carray(pointer(lane[LANE_COUNTERS]), (COUNTERS_LENGTH,), np.int64)
    if slot.state == QUEUED or slot.state == RUNNING or slot.state == HANDED:
        if slot.cancelled == 0:
            slot.cancelled = 1
            counters[CANCELLED] += 1
        if slot.state != HANDED:
            drop_request(lane, index)
        drop_reply(lane, index)
        queued = 1 if slot.state == QUEUED else 0
        if slot.request_capacity_bytes > REQUEST_INLINE_BYTES and slot.connection != NO_CONNECTION:
            # A servicer still reads the message: only the connection's account is settled here.
            connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
            connections[slot.connection].assembling_bytes -= slot.request_capacity_bytes
        untie_slot(lane, index)
        return queued
    if slot.state == ASSEMBLING or slot.reply_end > slot.reply_start:
        counters[CANCELLED] += 1
    release_slot(lane, index)
    return 0


@kernel("void(int64[::1], int64)")
def touch(lane: Words, connection_index: int) -> None:
    """Puts a connection on the list of those that have something to send."""
    connections = carray(pointer(lane[LANE_CONNECTIONS]), (lane[LANE_CONNECTION_COUNT],), CONNECTION)
    connection = connections[connection_index]
    if connection.touched == 0:
        connection.touched = 1
        touched = carray(pointer(lane[LANE_TOUCHED]), (lane[LANE_CONNECTION_COUNT],), np.int64)
        touched[lane[LANE_TOUCHED_COUNT]] = connection_index
        lane[LANE_TOUCHED_COUNT] += 1
