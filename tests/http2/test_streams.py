"""Connections and streams that end at the wrong moment: what a batch still holds is never written to anybody else."""

from __future__ import annotations

import pytest

from native.lane import layout
from tests.adversity.raw_peer import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    call_headers,
    frame,
    setting,
)
from tests.http2.bare_lane import SERVER_LIVE, BareLane, reply_values, request

CANCEL = bytes(3) + b"\x08"
RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED = 8, 4


def connect(lane: BareLane) -> int:
    connection = lane.connect()
    assert connection is not None
    return connection


def test_a_late_batch_never_writes_into_the_stream_of_who_came_after() -> None:
    lane = BareLane(connections_max=1, slots_max=1)
    first = connect(lane)
    lane.predict(first, 1.0)
    taken = lane.take()
    assert taken is not None
    lane.disconnect(first)
    second = connect(lane)
    assert second == first, "the same place in the table, the same stream number"
    stream = lane.predict(second, 2.0)
    lane.flush()
    assert lane.clients[second].so_far(stream).status == RESOURCE_EXHAUSTED, "the only slot is still the batch's"
    lane.finish(taken[0])
    later = lane.predict(second, 3.0)
    lane.run()
    lane.flush()
    assert reply_values(lane.clients[second].so_far(later).message).tolist() == [[6.0]]
    assert not lane.clients[second].so_far(stream).body
    lane.disconnect(second)
    assert lane.held == {}


def test_a_call_that_is_reset_and_its_successor_do_not_share_an_answer() -> None:
    lane = BareLane(slots_max=2)
    connection = connect(lane)
    lost = lane.predict(connection, 1.0)
    taken = lane.take()
    assert taken is not None
    lane.feed(connection, frame(RST_STREAM, 0, lost, CANCEL))
    kept = lane.predict(connection, 2.0)
    lane.finish(taken[0])
    lane.run()
    lane.flush()
    assert not lane.clients[connection].so_far(lost).body
    assert reply_values(lane.clients[connection].so_far(kept).message).tolist() == [[4.0]]


def every_state(lane: BareLane, connection: int) -> None:
    """Leaves calls assembling (short and long), handed, running, answered and unread, and queued."""
    lane.feed(connection, frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
    lane.predict(connection, 1.0)
    lane.run()
    lane.predict(connection, 2.0)
    lane.take()
    lane.begin(connection, request(3.0)[:20])
    lane.begin(connection, request(4.0, fill_bytes=5000)[:4000])
    lane.call(connection, bytes(5), call_headers(SERVER_LIVE))
    lane.predict(connection, 5.0)


def test_a_connection_that_closes_with_calls_in_every_state_gives_all_back_once_their_work_ends() -> None:
    lane = BareLane()
    connection = connect(lane)
    every_state(lane, connection)
    states = lane.lane.slots["state"]
    assert {layout.ASSEMBLING, layout.HANDED, layout.RUNNING, layout.REPLYING, layout.QUEUED} <= set(states.tolist())
    assert lane.count("ASSEMBLING_BYTES") > 0
    assert lane.count("REPLY_BYTES") > 0
    lane.disconnect(connection)
    assert lane.count("CONNECTIONS") == lane.count("ASSEMBLING_BYTES") == lane.count("REPLY_BYTES") == 0
    assert lane.count("SLOTS_IN_USE") == 3, "queue, runner and servicer still hold theirs"
    running = int((lane.lane.arenas["state"] == 3).argmax())
    lane.finish(running)
    assert lane.count("SLOTS_IN_USE") == 2
    lane.run()
    (handed,) = (lane.lane.slots["state"] == layout.HANDED).nonzero()[0].tolist()
    lane.lane.answer_status(handed, int(lane.lane.slots[handed]["generation"]), 1, b"")
    assert lane.held == {}


def test_rows_of_who_left_or_came_too_late_are_squeezed_out_and_the_rest_move_up() -> None:
    lane = BareLane()
    connection = connect(lane)
    lane.predict(connection, 1.0)
    left = lane.predict(connection, 2.0)
    late = lane.predict(connection, 3.0, timeout="1m")
    stays = lane.predict(connection, 4.0)
    lane.feed(connection, frame(RST_STREAM, 0, left, CANCEL))
    lane.now_ns += 2_000_000
    taken = lane.take()
    assert taken is not None
    arena, expired = taken
    assert lane.rows(arena) == [1.0, 4.0]
    lane.refuse_expired(expired)
    lane.finish(arena)
    lane.flush()
    client = lane.clients[connection]
    assert client.so_far(late).status == DEADLINE_EXCEEDED
    assert lane.count("REFUSAL_DEADLINE") == 1
    assert reply_values(client.so_far(stays).message).tolist() == [[8.0]]


def test_a_batch_of_nobody_is_left_with_no_rows() -> None:
    lane = BareLane()
    connection = connect(lane)
    for stream in [lane.predict(connection, 1.0), lane.predict(connection, 2.0)]:
        lane.feed(connection, frame(RST_STREAM, 0, stream, CANCEL))
    taken = lane.take()
    assert taken is not None
    assert lane.rows(taken[0]) == []
    assert lane.count("SLOTS_IN_USE") == 0


def test_a_call_that_cannot_be_done_in_time_is_not_begun() -> None:
    lane = BareLane()
    connection = connect(lane)
    lane.predict(connection, 1.0, timeout="10m")
    taken = lane.take(cost_ns=20_000_000)
    assert taken is not None
    assert len(taken[1]) == 1
    assert lane.rows(taken[0]) == []


def test_requests_fill_batches_whole_and_in_order() -> None:
    lane = BareLane(max_rows=4, arenas=3)
    connection = connect(lane)
    for number, rows in ((1.0, 3), (2.0, 2), (3.0, 2), (4.0, 4)):
        lane.predict(connection, number, rows)
    batches = []
    while (taken := lane.take()) is not None:
        batches.append(lane.rows(taken[0]))
        lane.finish(taken[0])
    assert batches == [[1.0] * 3, [2.0, 2.0, 3.0, 3.0], [4.0] * 4]


def test_one_more_row_than_the_queue_takes_is_refused() -> None:
    lane = BareLane(max_rows=4, arenas=3, waiting_rows_max=6)
    connection = connect(lane)
    streams = [lane.predict(connection, 1.0, 4), lane.predict(connection, 2.0, 2), lane.predict(connection, 3.0, 1)]
    lane.flush()
    client = lane.clients[connection]
    assert [client.so_far(stream).status for stream in streams] == [None, None, RESOURCE_EXHAUSTED]
    assert lane.count("REFUSAL_QUEUE_FULL") == 1


def test_replies_beyond_the_bound_of_a_connection_cut_it_off_and_its_memory_returns() -> None:
    lane = BareLane(max_rows=64, waiting_rows_max=1000, slots_max=64, reply_bytes_per_connection_max=4096)
    reader, neighbour = connect(lane), connect(lane)
    lane.feed(reader, frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
    while reader not in lane.closed:
        assert lane.count("SLOTS_IN_USE") < 20
        lane.predict(reader, 1.0, 64)
        lane.run()
        lane.flush()
        assert lane.count("REPLY_BYTES") <= 4096
        lane.now_ns += 200_000_000  # within the bound of a stall, beyond that of a reader who takes nothing at all
    assert lane.count("CUTOFF_REPLY_BYTES") == 1
    stream = lane.predict(neighbour, 1.0, 64)
    lane.run()
    lane.flush()
    assert lane.clients[neighbour].so_far(stream).status == 0
    lane.disconnect(neighbour)
    assert lane.held == {}


def test_replies_that_are_read_are_never_too_many() -> None:
    lane = BareLane(max_rows=64, waiting_rows_max=1000, reply_bytes_per_connection_max=4096)
    reader = connect(lane)
    for number in range(200):
        stream = lane.predict(reader, float(number), 64)
        lane.run()
        lane.flush()
        assert lane.clients[reader].so_far(stream).status == 0
        room = frame(WINDOW_UPDATE, 0, 0, (400).to_bytes(4, "big"))
        lane.feed(reader, room)
    assert lane.count("REPLY_BYTES") == 0


def test_trailers_are_no_second_call() -> None:
    lane = BareLane()
    connection = connect(lane)
    stream = lane.begin(connection, request(1.0))
    trailers = lane.clients[connection].block([("x-checked", "yes")])
    lane.feed(connection, frame(HEADERS, END_HEADERS | END_STREAM, stream, trailers))
    assert lane.count("SLOTS_IN_USE") == 1
    lane.run()
    lane.flush()
    assert lane.clients[connection].so_far(stream).status == 0
    assert lane.count("SLOTS_IN_USE") == 0


def test_a_place_that_is_reused_at_once_is_on_the_list_of_those_with_something_to_send_only_once() -> None:
    lane = BareLane(connections_max=1)
    for _ in range(5):
        connection = connect(lane)
        lane.disconnect(connection)
    connect(lane)
    assert lane.words[layout.LANE_TOUCHED_COUNT] == 1
    lane.flush()
    assert lane.words[layout.LANE_TOUCHED_COUNT] == 0
    assert lane.clients[0].came(SETTINGS)


@pytest.mark.parametrize("seconds", [1.0, 20.0])
def test_a_full_socket_is_cut_off_after_the_time_for_progress(seconds: float) -> None:
    lane = BareLane()
    connection = connect(lane)
    entry = lane.lane.connections[connection]
    entry["paused"], entry["paused_ns"] = 1, lane.now_ns
    lane.tick(seconds)
    lane.flush()
    assert (connection in lane.closed) == (seconds > 10)
    assert lane.count("CUTOFF_STALLED_REPLY") == (seconds > 10)


def test_old_connections_are_told_to_go_twice_and_finish_what_they_wait_for() -> None:
    lane = BareLane(connection_age_max_ns=10**9)
    connection = connect(lane)
    waiting = lane.predict(connection, 1.0)
    lane.tick(2.0)
    lane.flush()
    under_way = lane.predict(connection, 2.0)  # sent before the notice was read
    lane.tick(2.0)
    lane.flush()
    ignored = lane.predict(connection, 3.0)
    lane.run()
    client = lane.clients[connection]
    lane.flush()
    lasts = [int.from_bytes(came.payload[:4], "big") for came in client.came(7)]
    assert lasts == [0x7FFFFFFF, under_way]
    assert [client.so_far(stream).status for stream in (waiting, under_way, ignored)] == [0, 0, None]
    assert connection in lane.closed
    assert lane.count("CUTOFF_CONNECTION_AGE") == 1
    assert lane.held == {}


def test_a_young_connection_stays() -> None:
    lane = BareLane(connection_age_max_ns=10**12)
    connection = connect(lane)
    lane.tick(2.0)
    lane.flush()
    assert not lane.clients[connection].came(7)


def test_data_that_nobody_wants_still_opens_the_window_again() -> None:
    """What was refused is consumed: else refused calls would shut their neighbours' connection window."""
    lane = BareLane()
    connection = connect(lane)
    for _ in range(300):
        stream = lane.begin(connection, b"\7" + bytes(16000))
        lane.feed(connection, frame(DATA, 0, stream, bytes(100)))
        lane.flush()
        assert connection not in lane.closed
    assert lane.count("SLOTS_IN_USE") == 0
