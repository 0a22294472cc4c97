"""Following the plane's routes: one load for every socket read, a copy of the table where it has moved.

Used by `session.receive`, by the batch loop before each batch, and by the worker's timer while nothing comes.
Always: once `follow_routes` has said which epoch it has seen, no request is split by an older table, and rows that wait
for a seat without traffic run as their model's stable, or not at all.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from native.inner import inner
from native.lane.layout import (
    LANE_DIRECTORY_TABLE,
    LANE_DIRECTORY_WORDS,
    LANE_EPOCH,
    LANE_PLANE_ROUTING,
    LANE_ROUTE_TABLE,
    LANE_ROUTES,
    LANE_SEATS,
    LANE_SHADOWS,
    LANE_WORKER_ROUTING,
    LANE_WORKER_SEED,
)
from native.plane.atomics import load_acquire, store_release
from native.plane.routes import copy_routes
from native.plane.routing import (
    EPOCH,
    MODELS_MAX,
    NO_SEAT,
    ROUTE_CANARY,
    ROUTE_CANARY_PPM,
    ROUTE_FLAGS,
    ROUTE_LAST_SAFE,
    ROUTE_PIN_ALLOWED,
    ROUTE_SALT,
    ROUTE_SHADOW,
    ROUTE_STABLE,
    ROUTE_WEIGHT_EPOCH,
    ROUTE_WORDS,
    ROUTING_WORDS,
    SEATS_MAX,
    SEEN_EPOCH,
    TABLE_ROUTES,
    TABLE_WORDS,
    WORKER_ROUTING_WORDS,
)
from native.pointers import pointer
from native.route.layout import ROLE_CANARY, ROLE_LAST_SAFE, ROLE_NONE, ROLE_SHADOW, ROLE_STABLE, ROUTE, SEAT
from native.route.split import block_length, mixed
from native.wire.directory import (
    HEADER_WORDS,
    KERNEL_OK,
    MODEL_COUNT,
    MODEL_FLAGS,
    MODEL_INFER_PARAMETERS_BYTES,
    MODEL_INFER_PARAMETERS_OFFSET,
    MODEL_MAX_ROWS,
    MODEL_PREDICT_HEAD_BYTES,
    MODEL_PREDICT_HEAD_OFFSET,
    MODEL_ROUTE,
    MODEL_VARIANTS_AT,
    MODEL_WORDS,
    VARIANT_CANARY,
    VARIANT_STABLE,
    VARIANT_WORDS,
)
from native.wire.kernel import Words, int64, kernel

PPM_OF_ALL = 1_000_000
NO_MODEL = -1  # of a vacant place


@inner("int64(int64[::1], int64, int64)")
def _ready_seat(lane: Words, seat: int, generation: int) -> int:
    """The seat, where this very artifact is ready in this worker, else NO_SEAT."""
    seats = carray(pointer(lane[LANE_SEATS]), (SEATS_MAX,), SEAT)
    if seat < 0 or seat >= SEATS_MAX or generation == 0 or seats[seat].generation != generation:
        return NO_SEAT
    return seat


@inner("void(int64[::1], int64, int64[::1], int64)")
def _take_route(lane: Words, model: int, table: Words, at: int) -> None:
    """One model's route from a table, as this worker can serve it."""
    routes = carray(pointer(lane[LANE_ROUTES]), (MODELS_MAX,), ROUTE)
    route = routes[model]
    route.stable = _ready_seat(lane, table[at + ROUTE_STABLE], table[at + ROUTE_STABLE + 1])
    route.canary = _ready_seat(lane, table[at + ROUTE_CANARY], table[at + ROUTE_CANARY + 1])
    route.shadow = _ready_seat(lane, table[at + ROUTE_SHADOW], table[at + ROUTE_SHADOW + 1])
    route.last_safe = _ready_seat(lane, table[at + ROUTE_LAST_SAFE], table[at + ROUTE_LAST_SAFE + 1])
    route.stable_generation = table[at + ROUTE_STABLE + 1]
    route.canary_generation = table[at + ROUTE_CANARY + 1]
    route.shadow_generation = table[at + ROUTE_SHADOW + 1]
    route.whole = 1 if route.canary != NO_SEAT or table[at + ROUTE_CANARY + 1] == 0 else 0
    route.pin_allowed = 1 if table[at + ROUTE_FLAGS] & ROUTE_PIN_ALLOWED else 0
    weight = table[at + ROUTE_CANARY_PPM] if route.canary != NO_SEAT else 0
    salt, weight_epoch = table[at + ROUTE_SALT], table[at + ROUTE_WEIGHT_EPOCH]
    if weight != route.canary_ppm or salt != route.salt or weight_epoch != route.weight_epoch:
        route.block_length = block_length(weight) if 0 < weight < PPM_OF_ALL else 0
        route.block_canaries = route.block_length * weight // PPM_OF_ALL
        route.block_left = 0
        route.block_canaries_left = 0
        route.random_state = mixed(salt ^ mixed(lane[LANE_WORKER_SEED] + mixed(weight_epoch)))
    route.canary_ppm = weight
    route.salt = salt
    route.weight_epoch = weight_epoch


@inner("int64(int64[::1], int64, int64)")
def _role_of(lane: Words, model: int, seat: int) -> int:
    """What a seat of this model's is for."""
    routes = carray(pointer(lane[LANE_ROUTES]), (MODELS_MAX,), ROUTE)
    route = routes[model]
    if route.stable == seat:
        return ROLE_STABLE
    if route.canary == seat:
        return ROLE_CANARY
    if route.shadow == seat:
        return ROLE_SHADOW
    return ROLE_LAST_SAFE if route.last_safe == seat else ROLE_NONE


@inner("int64(int64[::1], int64, int64, int64)")
def _runner_of(lane: Words, model: int, seat: int, role: int) -> int:
    """The seat that runs what waits for this one, or NO_SEAT.

    Rows that wait for a seat without traffic were split by an older table: the stable runs them, where its batches are
    laid out like theirs. Where they are not, a stable that was replaced runs them itself; nobody runs what waits for a
    canary that went home, which may be anything.
    """
    if role in (ROLE_STABLE, ROLE_CANARY):
        return seat
    routes = carray(pointer(lane[LANE_ROUTES]), (MODELS_MAX,), ROUTE)
    directory = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
    stable = routes[model].stable
    if stable != NO_SEAT:
        own, record = HEADER_WORDS + seat * MODEL_WORDS, HEADER_WORDS + stable * MODEL_WORDS
        if directory[record + MODEL_MAX_ROWS] == directory[own + MODEL_MAX_ROWS] and (
            directory[record + MODEL_FLAGS] & KERNEL_OK != 0
        ):
            return stable
    return seat if role == ROLE_LAST_SAFE else NO_SEAT


@kernel("void(int64[::1])")
def settle_seats(lane: Words) -> None:
    """Says of every seat what it is for and who runs what waits for it, from the routes as they are now.

    Heads of replies follow: a reply names the place in the traffic of the seat that answers. One that has none any more
    keeps its last: it may be about to answer what it was given there.
    """
    seats = carray(pointer(lane[LANE_SEATS]), (SEATS_MAX,), SEAT)
    directory = carray(pointer(lane[LANE_DIRECTORY_TABLE]), (lane[LANE_DIRECTORY_WORDS],), np.int64)
    lane[LANE_SHADOWS] = 0
    for seat in range(SEATS_MAX):
        at = HEADER_WORDS + seat * MODEL_WORDS
        model = directory[at + MODEL_ROUTE] if seat < directory[MODEL_COUNT] else int64(NO_MODEL)
        if model < 0 or model >= MODELS_MAX:
            seats[seat].role = ROLE_NONE
            seats[seat].runs_as = NO_SEAT
            continue
        role = _role_of(lane, model, seat)
        seats[seat].role = role
        seats[seat].runs_as = _runner_of(lane, model, seat, role)
        if role == ROLE_SHADOW:
            lane[LANE_SHADOWS] += 1
        if role not in (ROLE_STABLE, ROLE_CANARY):
            continue
        head = directory[at + MODEL_VARIANTS_AT] + VARIANT_WORDS * (
            VARIANT_CANARY if role == ROLE_CANARY else VARIANT_STABLE
        )
        directory[at + MODEL_PREDICT_HEAD_OFFSET] = directory[head]
        directory[at + MODEL_PREDICT_HEAD_BYTES] = directory[head + 1]
        directory[at + MODEL_INFER_PARAMETERS_OFFSET] = directory[head + 2]
        directory[at + MODEL_INFER_PARAMETERS_BYTES] = directory[head + 3]


@kernel("boolean(int64[::1])")
def take_routes(lane: Words) -> bool:
    """Copies the plane's current table, whatever was seen before: a seat may have become ready here since."""
    if lane[LANE_PLANE_ROUTING] == 0:
        return False
    routing = carray(pointer(lane[LANE_PLANE_ROUTING]), (ROUTING_WORDS,), np.int64)
    table = carray(pointer(lane[LANE_ROUTE_TABLE]), (TABLE_WORDS,), np.int64)
    epoch = copy_routes(routing, table)
    if epoch <= 0:
        return False
    for model in range(MODELS_MAX):
        _take_route(lane, model, table, TABLE_ROUTES + model * ROUTE_WORDS)
    settle_seats(lane)
    lane[LANE_EPOCH] = epoch
    worker_routing = carray(pointer(lane[LANE_WORKER_ROUTING]), (WORKER_ROUTING_WORDS,), np.int64)
    store_release(worker_routing, SEEN_EPOCH, epoch)
    return True


@kernel("boolean(int64[::1])")
def follow_routes(lane: Words) -> bool:
    """Takes over the plane's current table where it is a later one; True where it was. One load where it was not."""
    if lane[LANE_PLANE_ROUTING] == 0:
        return False
    routing = carray(pointer(lane[LANE_PLANE_ROUTING]), (ROUTING_WORDS,), np.int64)
    if load_acquire(routing, EPOCH) == lane[LANE_EPOCH]:
        return False
    return take_routes(lane)
