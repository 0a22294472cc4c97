"""Slots, arenas and streams against a plain model: whatever clients, runner and clock do in whatever order, no slot is
lost or held twice, each call is answered once with its own rows, and all counts return to zero."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from native.batch.commit import add_request, gathering_arena
from native.batch.layout import NO_ARENA
from native.batch.seal import note_cancelled
from native.http2 import session
from native.lane import layout
from native.lane.slots import claim_slot, release_slot
from native.plane.counters import METHOD_OTHER
from tests.adversity.raw_peer import DATA, END_STREAM, RST_STREAM, call_headers, frame
from tests.http2.bare_lane import SERVER_LIVE, BareLane, reply_values, request

DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, CANCELLED = 4, 8, 1
CANCEL = bytes(3) + b"\x08"
TIMEOUT_NS = 5_000_000


@dataclass(eq=False)
class PlainCall:
    """What the model knows of a call. whole: its message is; wanted: its caller still waits; done: nothing is due."""

    connection: int
    stream: int
    number: float
    rows: int
    deadline_ns: int | None
    rest: bytes = b""
    whole: bool = True
    wanted: bool = True
    done: bool = False
    slot: int = -1
    expected: set[int] = field(default_factory=lambda: {0})


class SlotLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.lane = BareLane()
        self.calls: list[PlainCall] = []
        self.running: list[int] = []
        self.number = 0.0

    def draw(self, data: st.DataObject, calls: list[PlainCall]) -> PlainCall:
        return data.draw(st.sampled_from(calls))

    def open_calls(self) -> list[PlainCall]:
        return [call for call in self.calls if call.wanted and not call.done and call.connection >= 0]

    def next_number(self) -> float:
        self.number += 1
        return self.number

    @rule()
    def connects(self) -> None:
        free = len(self.lane.clients) < self.lane.limits.connections_max
        assert (self.lane.connect() is not None) == free

    @precondition(lambda self: self.lane.clients)
    @rule(data=st.data())
    def disconnects(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.lane.clients)))
        self.lane.disconnect(connection)
        for call in self.calls:
            if call.connection == connection:
                call.wanted, call.done = False, True

    @precondition(lambda self: self.lane.clients)
    @rule(data=st.data(), rows=st.integers(1, 4), timed=st.booleans(), whole=st.booleans(), long=st.booleans())
    def calls_predict(self, data: st.DataObject, rows: int, timed: bool, whole: bool, long: bool) -> None:
        connection, number = data.draw(st.sampled_from(sorted(self.lane.clients))), self.next_number()
        content = request(number, rows, fill_bytes=2000 if long else 0)
        cut = len(content) if whole else data.draw(st.integers(0, len(content)))
        headers = call_headers(grpc_timeout="5m") if timed else None
        begin = self.lane.call if whole else self.lane.begin
        stream = begin(connection, content[:cut], headers)
        deadline_ns = self.lane.now_ns + TIMEOUT_NS if timed else None
        # No room is an answer, too: whether there was any is the invariants' to check.
        expected = {0, RESOURCE_EXHAUSTED} | ({DEADLINE_EXCEEDED} if timed else set())
        call = PlainCall(connection, stream, number, rows, deadline_ns, content[cut:], whole, expected=expected)
        self.calls.append(call)

    @precondition(lambda self: any(not call.whole for call in self.open_calls()))
    @rule(data=st.data())
    def completes_a_message(self, data: st.DataObject) -> None:
        call = self.draw(data, [call for call in self.open_calls() if not call.whole])
        self.lane.feed(call.connection, frame(DATA, END_STREAM, call.stream, call.rest))
        call.whole = True

    @precondition(lambda self: self.lane.clients)
    @rule(data=st.data())
    def calls_a_servicer(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.lane.clients)))
        stream = self.lane.call(connection, bytes(5), call_headers(SERVER_LIVE))
        expected = {0, RESOURCE_EXHAUSTED}
        self.calls.append(PlainCall(connection, stream, 0.0, 0, None, expected=expected))

    @rule(fails=st.booleans())
    def servicers_answer(self, fails: bool) -> None:
        words, lane = self.lane.words, self.lane.lane
        count, words[layout.LANE_HANDED_COUNT] = int(words[layout.LANE_HANDED_COUNT]), 0
        for slot in lane.handed[:count].tolist():
            generation = int(lane.slots[slot]["generation"])
            if fails:
                lane.answer_status(slot, generation, RESOURCE_EXHAUSTED, b"no")
            else:
                lane.answer_message(slot, generation, b"reply", last=True)
            # An answer that is given twice finds nobody.
            lane.answer_status(slot, generation - 1, CANCELLED, b"late")

    @precondition(lambda self: self.open_calls())
    @rule(data=st.data())
    def resets(self, data: st.DataObject) -> None:
        call = self.draw(data, self.open_calls())
        self.lane.feed(call.connection, frame(RST_STREAM, 0, call.stream, CANCEL))
        call.wanted, call.done = False, True

    @rule(rows=st.integers(1, 4))
    def a_python_caller_brings_rows(self, rows: int) -> None:
        words, memory = self.lane.words, self.lane.lane
        slot = claim_slot(words, layout.NO_CONNECTION)
        if slot == layout.NO_SLOT:
            assert memory.slots_in_use == memory.slots.size
            return
        arena = gathering_arena(words, 0, rows)
        if arena == NO_ARENA:
            release_slot(words, slot)
            return
        first, number = int(memory.arenas[arena]["rows"]), self.next_number()
        memory.arena_columns(arena)[0][0][first : first + rows] = number
        memory.slots[slot]["method"] = METHOD_OTHER
        add_request(words, arena, slot, 0, rows)
        self.calls.append(PlainCall(-1, -1, number, rows, None, slot=slot))

    @precondition(lambda self: any(call.slot >= 0 and not call.done for call in self.calls))
    @rule(data=st.data())
    def a_python_caller_leaves(self, data: st.DataObject) -> None:
        call = self.draw(data, [call for call in self.calls if call.slot >= 0 and not call.done])
        entry = self.lane.lane.slots[call.slot]
        entry["cancelled"] = 1
        if entry["state"] == layout.QUEUED:
            note_cancelled(self.lane.words, call.slot)
        call.wanted, call.done = False, True

    @rule(milliseconds=st.integers(1, 6))
    def time_goes_on(self, milliseconds: int) -> None:
        self.lane.now_ns += milliseconds * 1_000_000

    @precondition(lambda self: len(self.running) < 2)
    @rule(cost_ns=st.sampled_from([0, TIMEOUT_NS // 2]))
    def the_runner_takes_a_batch(self, cost_ns: int) -> None:
        taken = self.lane.take(cost_ns)
        if taken is None:
            assert not self.lane.count("QUEUED_ROWS")
            return
        arena, expired = taken
        self.lane.refuse_expired(expired)
        rows = Counter(self.lane.rows(arena))
        of_number = {call.number: call for call in self.calls}
        for number, count in rows.items():
            call = of_number[number]
            assert count == call.rows
            assert call.wanted, "rows of a call that nobody waits for are run"
            assert call.deadline_ns is None or call.deadline_ns >= self.lane.now_ns + cost_ns
        self.running.append(arena)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_batch_ends(self, data: st.DataObject) -> None:
        arena = data.draw(st.sampled_from(self.running))
        self.running.remove(arena)
        self.end(arena)

    def end(self, arena: int) -> None:
        _, (target,) = self.lane.lane.arena_columns(arena)
        waiting = {call.slot: call for call in self.calls if call.slot >= 0 and not call.done}
        for slot in self.lane.finish(arena):
            call = waiting[slot]
            first, rows = self.lane.lane.rows_of(slot)
            assert target[first : first + rows, 0].tolist() == [2 * call.number] * call.rows
            release_slot(self.lane.words, slot)
            call.done = True

    @rule()
    def bytes_leave(self) -> None:
        self.lane.flush()
        for call in self.open_calls():
            answer = self.lane.clients[call.connection].so_far(call.stream)
            if not answer.is_over:
                continue
            assert answer.status in call.expected, (call, answer)
            if answer.status == 0 and call.rows:
                assert reply_values(answer.message).ravel().tolist() == [2 * call.number] * call.rows
            call.done = True

    @rule()
    def a_second_passes(self) -> None:
        # Less than stalled peers are given, so that nothing but the rates changes.
        session.tick(self.lane.words, self.lane.now_ns, 0)

    @invariant()
    def a_slot_is_free_or_claimed(self) -> None:
        memory, words = self.lane.lane, self.lane.words
        free = memory._free_slots[: int(words[layout.LANE_FREE_SLOT_COUNT])].tolist()
        assert len(set(free)) == len(free)
        states = memory.slots["state"]
        assert sorted(free) == np.flatnonzero(states == layout.FREE).tolist()
        assert self.lane.count("SLOTS_IN_USE") == memory.slots_in_use == memory.slots.size - len(free)
        assert words[layout.LANE_HANDED_IN_FLIGHT] == np.count_nonzero(states == layout.HANDED)

    @invariant()
    def a_connection_knows_its_slots(self) -> None:
        memory = self.lane.lane
        for index, entry in enumerate(memory.connections):
            if entry["state"] != layout.CONNECTION_OPEN:
                continue
            chain, slot = [], int(entry["first_slot"])
            while slot != layout.NO_SLOT:
                chain.append(slot)
                slot = int(memory.slots[slot]["next"])
            claimed = memory.slots["state"] != layout.FREE
            assert sorted(chain) == np.flatnonzero(claimed & (memory.slots["connection"] == index)).tolist()
            assert entry["slots"] == len(chain)
            counted = claimed & (memory.slots["executing_of"] == index)
            counted &= memory.slots["executing_generation"] == entry["generation"]
            assert entry["executing"] == np.count_nonzero(counted)
            replies = memory.slots[chain]
            assert entry["reply_bytes"] == int((replies["reply_end"] - replies["reply_start"]).sum())

    @invariant()
    def rows_wait_as_counted(self) -> None:
        waiting = self.lane.lane.arenas["rows"][np.isin(self.lane.lane.arenas["state"], (1, 2))].sum()
        assert self.lane.count("QUEUED_ROWS") == waiting == self.lane.lane.queues[0]["waiting_rows"]

    def teardown(self) -> None:
        for call in [call for call in self.open_calls() if not call.whole]:
            self.lane.feed(call.connection, frame(DATA, END_STREAM, call.stream, call.rest))
        for arena in self.running:
            self.end(arena)
        while (taken := self.lane.take()) is not None:
            self.lane.refuse_expired(taken[1])
            self.end(taken[0])
        self.servicers_answer(False)
        self.bytes_leave()
        assert all(call.done for call in self.calls), "a call was never answered"
        for connection in list(self.lane.clients):
            self.lane.disconnect(connection)
        assert self.lane.held == {}
        assert (self.lane.lane.arenas["state"] == 0).all()
        assert self.lane.words[layout.LANE_FREE_SLOT_COUNT] == self.lane.lane.slots.size


TestSlotLife = pytest.mark.timeout(300)(SlotLife.TestCase)
TestSlotLife.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


# --- The alarm rings --------------------------------------------------------------------------------------------------


class RepliesMixedUp(SlotLife):
    """The second of a batch's rows answers the first request."""

    def end(self, arena: int) -> None:
        (source,), _ = self.lane.lane.arena_columns(arena)
        source[:] = np.roll(source, 1, axis=0)
        super().end(arena)


class SlotsLost(SlotLife):
    """Handed calls of clients that left are forgotten."""

    def servicers_answer(self, fails: bool) -> None:
        self.lane.words[layout.LANE_HANDED_COUNT] = 0


@pytest.mark.parametrize("planted", [RepliesMixedUp, SlotsLost])
def test_a_planted_fault_is_found(planted: type[SlotLife]) -> None:
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            planted, settings=settings(TestSlotLife.settings, phases=[Phase.generate], report_multiple_bugs=False)
        )
