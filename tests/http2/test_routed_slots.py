"""Calls while routes flip and models come and go, against a plain model: whatever happens in whatever order, each call
is answered once, by a version that its reply names, and none by a version without traffic: where the stable can't take
what waited for such a one, its callers are told to try again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from native.batch import memory
from native.batch.finish import finish_arena
from native.batch.layout import ARENA_GATHERING, ARENA_READY, NO_ARENA
from native.batch.memory import QueueBounds
from native.batch.seal import free_arena, next_arena, put_back, take_arena
from native.http2 import answers
from native.http2.refusals import NO_TRAFFIC
from native.lane import layout
from native.plane.counters import BATCHES_INLINE
from native.plane.evidence import EvidenceReader
from native.plane.layout import Plane
from native.plane.routes import Route, RouteTables, SeatRef
from native.plane.routing import NO_SEAT
from native.route.layout import MAIN, TRIAL
from native.wire.directory import WireModel
from protos.roost.v1 import predict_pb2
from tests.adversity.raw_peer import RST_STREAM, call_headers, frame, framed
from tests.behaviour.messages import predict_outputs, predict_request
from tests.http2.bare_lane import BareLane

SEATS = (0, 1, 2)
CANCEL = bytes(3) + b"\x08"
UNAVAILABLE, RESOURCE_EXHAUSTED = 14, 8


@dataclass(eq=False)
class Call:
    stream: int
    number: float
    rows: int


@dataclass
class Place:
    """What a seat holds: version v multiplies by v, so that a reply shows who computed it."""

    version: int
    generation: int
    ready: bool = True


class RoutedLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lane = BareLane(max_rows=4, arenas=4, waiting_rows_max=1000, slots_max=64)
        self.plane = Plane.create(1)
        self.tables = RouteTables(self.plane)
        self.memory = self.lane.lane
        first = self.memory.directory.model(0)
        self.signature = first.inputs, first.outputs
        self.memory.remove_model(0)
        self.memory.attach_routes(self.plane.routing, self.plane.block(0).routing, 7)
        self.places: dict[int, Place] = {}
        self.generations = dict.fromkeys(SEATS, 0)
        self.versions = 0
        self.weight_epoch = 0
        self.route = Route()
        self.running: list[tuple[int, int]] = []  # (arena, seat that it runs as)
        self.calls: list[Call] = []
        self.number = 0.0
        connection = self.lane.connect()
        assert connection is not None
        self.connection = connection
        self.load(0)
        self.publish(stable=0, canary=None, ppm=0)

    def load(self, seat: int) -> None:
        self.versions += 1
        self.generations[seat] += 1
        model = WireModel("double", str(self.versions), "0123456789ab", "stable", *self.signature, 4, route=0)
        self.memory.set_model(seat, model, QueueBounds(4, 1000))
        self.places[seat] = Place(self.versions, self.generations[seat])
        self.memory.set_ready(seat, self.generations[seat])

    def publish(self, stable: int, canary: int | None, ppm: int) -> None:
        self.weight_epoch += 1
        refs = [None if seat is None else SeatRef(seat, self.places[seat].generation) for seat in (stable, canary)]
        self.route = Route(
            self.weight_epoch, refs[0], refs[1], None, None, ppm, self.weight_epoch, self.weight_epoch, True
        )
        self.tables.publish([self.route], urgent=True)

    def named(self) -> set[int]:
        return {ref.seat for ref in self.route.seats}

    @precondition(lambda self: len(self.calls) < 40)
    @rule(rows=st.integers(1, 4), key=st.one_of(st.none(), st.integers(0, 20)), count=st.integers(1, 5))
    def asks(self, rows: int, key: int | None, count: int) -> None:
        for _ in range(count):
            self.number += 1
            request = predict_request("double", {"x": np.full((rows, 1), self.number, np.float32)})
            request.routing_key = "" if key is None else f"user-{key}"
            stream = self.lane.call(self.connection, framed(request.SerializeToString()), call_headers())
            if int(self.lane.words[layout.LANE_HANDED_COUNT]):
                self.tell_that_nobody_answers()
                assert not self.places[self.stable()].ready
            self.lane.flush()
            answer = self.lane.clients[self.connection].so_far(stream)
            if answer.is_over:
                assert answer.status in (UNAVAILABLE, RESOURCE_EXHAUSTED), answer
            else:
                self.calls.append(Call(stream, self.number, rows))

    def tell_that_nobody_answers(self) -> None:
        """What a servicer says where no stable is ready."""
        slot = int(self.memory.handed[0])
        self.lane.words[layout.LANE_HANDED_COUNT] = 0
        self.memory.answer_status(slot, int(self.memory.slots[slot]["generation"]), UNAVAILABLE, b"nobody")

    def stable(self) -> int:
        assert self.route.stable is not None
        return self.route.stable.seat

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def gives_up(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.calls))
        self.lane.feed(self.connection, frame(RST_STREAM, 0, call.stream, CANCEL))
        self.calls.remove(call)

    @precondition(lambda self: len(self.places) < len(SEATS))
    @rule()
    def loads(self) -> None:
        self.load(next(seat for seat in SEATS if seat not in self.places))

    @rule(data=st.data())
    def unloads(self, data: st.DataObject) -> None:
        seat = data.draw(st.sampled_from(SEATS))
        if seat in self.places and seat not in self.named() and not self.memory.busy(seat):
            self.memory.remove_model(seat)
            del self.places[seat]

    @rule(data=st.data())
    def becomes_ready_or_not(self, data: st.DataObject) -> None:
        self.turn(data.draw(st.sampled_from(sorted(self.places))))

    def turn(self, seat: int) -> None:
        place = self.places[seat]
        place.ready = not place.ready
        self.memory.set_ready(seat, place.generation if place.ready else 0)

    @rule(data=st.data(), ppm=st.sampled_from([0, 50_000, 500_000, 123_457, 1_000_000]))
    def flips(self, data: st.DataObject, ppm: int) -> None:
        stable = data.draw(st.sampled_from(sorted(self.places)))
        canary = data.draw(st.sampled_from([None, *sorted(self.places.keys() - {stable})]))
        self.publish(stable, canary, ppm if canary is not None else 0)

    @precondition(lambda self: len(self.running) < 2)
    @rule(side=st.sampled_from([MAIN, TRIAL]))
    def begins_a_batch(self, side: int) -> None:
        arena = int(next_arena(self.lane.words, side))
        if arena == NO_ARENA:
            return
        self.take(arena, side)

    def take(self, arena: int, side: int) -> None:
        """Begins to run a batch, or refuses it."""
        refused = int(take_arena(self.lane.words, arena, self.lane.now_ns, 0, self.memory.refused))
        runs_as = int(self.memory.arenas[arena]["runs_as"])
        if side == TRIAL:
            assert self.route.canary is not None
            assert runs_as == self.route.canary.seat
            assert self.places[runs_as].ready
        elif self.places[self.stable()].ready:
            assert runs_as == self.stable(), "whatever has no traffic any more"
        else:
            assert runs_as == NO_SEAT, "nobody has traffic"
            self.refuse(arena, refused)
            return
        assert refused == 0
        self.running.append((arena, runs_as))

    def refuse(self, arena: int, count: int) -> None:
        """As the worker's batcher does it: each of these calls is told, once."""
        assert int(self.memory.arenas[arena]["rows"]) == 0
        answers.refuse_unrun(self.lane.words, self.memory.refused, count, NO_TRAFFIC)
        free_arena(self.lane.words, arena)
        self.lane.flush()
        told = [call for call in self.calls if self.lane.clients[self.connection].so_far(call.stream).is_over]
        assert len(told) == count
        for call in told:
            assert self.lane.clients[self.connection].so_far(call.stream).status == UNAVAILABLE
            self.calls.remove(call)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def ends_a_batch(self, data: st.DataObject) -> None:
        self.end(*self.running.pop(data.draw(st.integers(0, len(self.running) - 1))))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def ends_a_run_that_came_to_nothing(self, data: st.DataObject) -> None:
        arena, _runs_as = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        _inputs, (target,) = self.memory.arena_columns(arena)
        target[:] = np.nan
        put_back(self.lane.words, arena)
        requests = [self.memory.slots[slot] for slot in self.memory.arena_requests(arena)]
        assert all(slot["state"] == layout.QUEUED for slot in requests)
        assert self.memory.arenas[arena]["cancelled"] == sum(slot["cancelled"] for slot in requests)

    def end(self, arena: int, runs_as: int) -> None:
        (source,), (target,) = self.memory.arena_columns(arena)
        target[:] = source * self.places[runs_as].version
        assert answers.answer_batch(self.lane.words, arena, 0, self.lane.now_ns) == answers.ALL
        finish_arena(self.lane.words, arena, BATCHES_INLINE)
        self.lane.flush()
        for call in list(self.calls):
            answer = self.lane.clients[self.connection].so_far(call.stream)
            if answer.is_over:
                assert answer.status == 0, answer
                reply = predict_pb2.PredictReply.FromString(answer.message)
                assert reply.version == str(self.places[runs_as].version)
                assert predict_outputs(reply)["y"].tolist() == [[call.number * int(reply.version)]] * call.rows
                self.calls.remove(call)

    @invariant()
    def what_is_asked_is_in_work(self) -> None:
        assert int(self.memory.slots_in_use) >= len(self.calls)

    @invariant()
    def rows_that_wait_are_counted(self) -> None:
        waits = [arena for arena in self.memory.arenas if arena["state"] in (ARENA_GATHERING, ARENA_READY)]
        for seat, queue in enumerate(self.memory.queues):
            assert queue["waiting_rows"] == sum(arena["rows"] for arena in waits if arena["model"] == seat)
        assert self.lane.words[layout.LANE_QUEUED_ROWS] == sum(arena["rows"] for arena in waits)

    def teardown(self) -> None:
        while self.running:
            self.end(*self.running.pop())
        for side in (MAIN, TRIAL):
            while (arena := int(next_arena(self.lane.words, side))) != NO_ARENA:
                self.take(arena, side)
                while self.running:
                    self.end(*self.running.pop())
        assert not self.calls
        assert self.lane.held == {"CONNECTIONS": 1}
        for cell in EvidenceReader(self.plane).read():
            assert cell.requests <= cell.answered


def test_a_call_is_answered_once_and_by_who_has_traffic_whatever_flips_meanwhile() -> None:
    run_state_machine_as_test(
        RoutedLife,
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_alarm_rings_where_batches_stay_on_the_side_of_a_canary_that_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "sort_ready", lambda _words: None)
    life = RoutedLife()
    life.loads()
    life.publish(stable=0, canary=1, ppm=1_000_000)
    life.asks(rows=4, key=7, count=2)  # the first is sealed by the second
    life.turn(1)
    with pytest.raises(AssertionError):
        life.begins_a_batch(TRIAL)


def test_rows_that_wait_again_are_answered_in_the_name_of_who_runs_them_then() -> None:
    life = RoutedLife()
    life.loads()
    life.publish(stable=1, canary=None, ppm=0)
    life.asks(rows=1, key=None, count=1)
    life.publish(stable=0, canary=None, ppm=0)
    life.begins_a_batch(MAIN)
    put_back(life.lane.words, life.running.pop()[0])
    life.publish(stable=1, canary=None, ppm=0)
    life.begins_a_batch(MAIN)
    life.end(*life.running.pop())
    assert not life.calls
    life.teardown()
