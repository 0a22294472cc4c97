"""The publisher: the decision before the table, weight epochs that grow with the arms, and no wait without end."""

import time

import pytest

from native.plane.evidence import first_event
from native.plane.layout import Plane, WorkerState
from native.plane.routes import RingFull, RouteTables, SeatRef
from native.plane.routing import SEEN_EPOCH, TABLES_COUNT
from server.control.route_publisher import RING_WAIT_S, RoutePublisher, WantedRoute

STABLE, CANARY = SeatRef(0, 1), SeatRef(1, 1)


def wanted(revision: int = 1, canary: SeatRef | None = CANARY, ppm: int = 50_000, salt: int = 7) -> WantedRoute:
    return WantedRoute(revision, STABLE, canary, None, None, ppm if canary else 0, salt)


@pytest.fixture
def plane() -> Plane:
    return Plane.create(1)


def test_a_table_and_its_decision_lie_in_the_plane_together(plane: Plane) -> None:
    publisher = RoutePublisher(plane, 2, pin_allowed=True)
    epoch = publisher.publish({1: publisher.next_route(1, wanted())}, ["because"], urgent=False)
    assert RouteTables(plane).current()[0] == epoch == publisher.epoch
    again = RoutePublisher(plane, 2, pin_allowed=True)
    assert again.routes == publisher.routes
    assert again.routes[1].canary == CANARY
    assert again.routes[1].pin_allowed
    assert again.routes[0].stable is None
    assert again.decisions.read() == ((1, "because"),)


def test_the_weight_epoch_grows_with_arms_and_weights_and_with_nothing_else(plane: Plane) -> None:
    publisher = RoutePublisher(plane, 1, pin_allowed=False)

    def published(want: WantedRoute) -> int:
        publisher.publish({0: publisher.next_route(0, want)}, [], urgent=False)
        return publisher.routes[0].weight_epoch

    first = published(wanted())
    assert abs(first - time.time() * 1000) < 60_000, "no two lives of a server share a weight epoch"
    assert published(wanted(revision=2)) == first
    assert published(wanted(ppm=60_000)) == first + 1
    assert published(wanted(canary=None)) == first + 2
    assert published(wanted(canary=None, salt=8)) == first + 3


def test_first_events_are_forgotten_where_a_canary_is_said_to_be_fresh_and_nowhere_else(plane: Plane) -> None:
    publisher = RoutePublisher(plane, 2, pin_allowed=False)
    assert first_event(plane.routing, 0, 99) == first_event(plane.routing, 1, 99) == 1
    publisher.publish({0: publisher.next_route(0, wanted())}, [], urgent=False)
    assert first_event(plane.routing, 0, 99) == 0, "a canary that goes on with its evidence"
    publisher.publish({0: publisher.next_route(0, wanted(ppm=90_000))}, [], urgent=False, fresh=[0])
    assert first_event(plane.routing, 0, 99) == 1
    assert first_event(plane.routing, 1, 99) == 0, "another model's"


async def test_a_worker_that_lags_is_waited_for_and_then_left_behind_and_going_home_never_waits(plane: Plane) -> None:
    plane.block(0).enter(WorkerState.READY)
    publisher = RoutePublisher(plane, 1, pin_allowed=False)
    for revision in range(1, TABLES_COUNT):
        publisher.publish({0: publisher.next_route(0, wanted(revision))}, [f"{revision}"], urgent=False)
    with pytest.raises(RingFull):
        publisher.publish({0: publisher.next_route(0, wanted(90))}, ["90"], urgent=False)
    assert publisher.decisions.read()[-1][1] != "90", "refused before anything was written"
    began = time.monotonic()
    await publisher.publish_soon({0: publisher.next_route(0, wanted(91))}, ["91"], urgent=True)
    assert time.monotonic() - began < RING_WAIT_S / 2
    await publisher.publish_soon({0: publisher.next_route(0, wanted(92))}, ["92"])
    assert time.monotonic() - began >= RING_WAIT_S
    plane.block(0).routing[SEEN_EPOCH] = publisher.epoch
    assert publisher.following(publisher.epoch)
    publisher.publish({0: publisher.next_route(0, wanted(93))}, ["93"], urgent=False)
