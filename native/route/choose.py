"""Choosing the seat that answers a request, and what of it counts as evidence.

Used at the end of a request's message, before its rows are copied; Python callers choose in the same way.
"""

from __future__ import annotations

from numba import carray

from native.lane.layout import LANE_ROUTES, LANE_SLOT_COUNT, LANE_SLOTS, SLOT
from native.plane.routing import MODELS_MAX, NO_SEAT, PPM
from native.pointers import pointer
from native.route.layout import PIN_CANARY, PIN_NONE, PIN_STABLE, ROUTE
from native.route.split import GAMMA, drawn, key_position
from native.wire.codes import HAND_OVER
from native.wire.kernel import Words, kernel


@kernel("int64(int64[::1], int64, int64, int64)")
def split_request(lane: Words, model: int, keyed: int, hashed: int) -> int:
    """The seat for a request of a model, by the weights that stand, or NO_SEAT where no stable is ready.

    keyed: 1 where the request has a routing key, whose hash is `hashed`.
    """
    routes = carray(pointer(lane[LANE_ROUTES]), (MODELS_MAX,), ROUTE)
    route = routes[model]
    if route.canary == NO_SEAT or route.canary_ppm == 0:
        return route.stable
    if route.canary_ppm >= PPM:
        return route.canary
    if keyed == 1:
        return route.canary if key_position(hashed, route.salt) < route.canary_ppm else route.stable
    route.random_state += GAMMA
    if route.block_length == 0:
        return route.canary if drawn(route.random_state, route.canary_ppm, PPM) == 1 else route.stable
    if route.block_left == 0:
        route.block_left = route.block_length
        route.block_canaries_left = route.block_canaries
    chosen = drawn(route.random_state, route.block_canaries_left, route.block_left)
    route.block_left -= 1
    route.block_canaries_left -= chosen
    return route.canary if chosen == 1 else route.stable


@kernel("int64(int64[::1], int64, int64, int64)")
def choose_seat(lane: Words, slot_index: int, model: int, wanted: int) -> int:
    """The seat that answers a slot's call, or HAND_OVER where words are needed: no stable, or a pin that can't be had.

    model: the route's. wanted: the seat whose version the caller named, or NO_SEAT. The slot's `pin`, `keyed` and
    `key_hash` are filled in; what counts as evidence is noted in it.
    """
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[slot_index]
    if model < 0 or model >= MODELS_MAX:
        return HAND_OVER
    routes = carray(pointer(lane[LANE_ROUTES]), (MODELS_MAX,), ROUTE)
    route = routes[model]
    slot.route = model
    slot.weight_epoch = route.weight_epoch
    if wanted != NO_SEAT or slot.pin != PIN_NONE:
        slot.evidence = 0
        seat = wanted
        if slot.pin != PIN_NONE:
            seat = route.stable if slot.pin == PIN_STABLE else route.canary if slot.pin == PIN_CANARY else NO_SEAT
            if wanted != NO_SEAT and wanted != seat:
                return HAND_OVER
        if seat == NO_SEAT:
            return HAND_OVER
        if seat == route.stable and slot.pin == PIN_NONE:
            return seat
        allowed = route.pin_allowed == 1 and (seat == route.stable or seat == route.canary)
        return seat if allowed else HAND_OVER
    if route.whole == 0:
        slot.evidence = 0  # this worker can't give the canary its share yet
    seat = split_request(lane, model, slot.keyed, slot.key_hash)
    return seat if seat != NO_SEAT else HAND_OVER
