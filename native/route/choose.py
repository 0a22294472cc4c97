"""Choosing the seat that answers a request, and what of it counts as evidence.

Used at the end of a request's message, before its rows are copied; Python callers choose in the same way.
"""

from __future__ import annotations

from numba import carray

from native.inner import inner
from native.lane.layout import LANE_ROUTES, LANE_SLOT_COUNT, LANE_SLOTS, SLOT
from native.plane.routing import MODELS_MAX, NO_SEAT, PPM
from native.pointers import pointer
from native.route.layout import PIN_CANARY, PIN_NONE, PIN_STABLE, ROUTE
from native.route.split import GAMMA, drawn, key_position
from native.wire.codes import HAND_OVER
from native.wire.kernel import Words, int64, kernel


@inner("int64(int64[::1], int64, int64, int64)")
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


@kernel("UniTuple(int64, 3)(int64[::1], int64, int64, int64, int64, int64)")
def decide(lane: Words, model: int, keyed: int, hashed: int, pin: int, wanted: int) -> tuple[int, int, int]:
    """(seat, weight epoch, 1 for evidence) of a request of a route's model; seat HAND_OVER where words are needed.

    That is: no stable is ready, or the caller chose what can't be had. keyed, hashed: see `split_request`. pin: PIN_*.
    wanted: the seat whose version the caller named, or NO_SEAT. Evidence is what the split alone decides.
    """
    if model < 0 or model >= MODELS_MAX:
        return HAND_OVER, 0, 0
    routes = carray(pointer(lane[LANE_ROUTES]), (MODELS_MAX,), ROUTE)
    route = routes[model]
    epoch = route.weight_epoch
    if wanted == NO_SEAT and pin == PIN_NONE:
        seat = split_request(lane, model, keyed, hashed)
        # A worker that can't give the canary its share yet tells nothing about shares.
        return (seat if seat != NO_SEAT else HAND_OVER), epoch, route.whole
    seat = wanted
    if pin != PIN_NONE:
        seat = int64(NO_SEAT)
        if pin == PIN_STABLE:
            seat = route.stable
        elif pin == PIN_CANARY:
            seat = route.canary
        if wanted not in (NO_SEAT, seat):
            return HAND_OVER, epoch, 0
    if seat == NO_SEAT:
        return HAND_OVER, epoch, 0
    if seat == route.stable and pin == PIN_NONE:
        return seat, epoch, 0
    allowed = route.pin_allowed == 1 and seat in (route.stable, route.canary)
    return (seat if allowed else HAND_OVER), epoch, 0


@inner("int64(int64[::1], int64, int64, int64)")
def choose_seat(lane: Words, slot_index: int, model: int, wanted: int) -> int:
    """`decide` for a slot's call, whose key and pin are noted in it; what it decided on is noted there, too."""
    slots = carray(pointer(lane[LANE_SLOTS]), (lane[LANE_SLOT_COUNT],), SLOT)
    slot = slots[slot_index]
    seat, weight_epoch, evidence = decide(lane, model, slot.keyed, slot.key_hash, slot.pin, wanted)
    slot.route = model
    slot.weight_epoch = weight_epoch
    if evidence == 0:
        slot.evidence = 0
    return seat
