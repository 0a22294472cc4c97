"""Calls with the Python servicers: unpacking, escaping, and slots that come back however a task ends."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.worker.listeners.handed_calls import HandedCalls, escaped, unpacked
from server.worker.models.table import ModelTable
from server.worker.servicers.call import Serving
from server.worker.servicers.health_board import HealthBoard
from server.worker.servicers.methods import SERVICES
from server.worker.status import Code, StatusError
from tests.adversity.raw_peer import RST_STREAM, call_headers, frame
from tests.http2.bare_lane import SERVER_LIVE, BareLane

CANCEL = bytes(3) + b"\x08"


@given(content=st.binary(max_size=300))
def test_what_was_packed_is_unpacked(content: bytes) -> None:
    assert unpacked(gzip.compress(content), 300) == content


@given(junk=st.binary(max_size=60))
def test_what_is_no_gzip_is_refused_as_such(junk: bytes) -> None:
    with pytest.raises(StatusError) as refused:
        unpacked(junk, 1000)
    assert refused.value.code is Code.INTERNAL
    assert refused.value.message.startswith("message: expected gzip")


@pytest.mark.parametrize("kept", range(len(gzip.compress(bytes(50))) - 1))
def test_gzip_that_is_cut_short_anywhere_is_refused(kept: int) -> None:
    with pytest.raises(StatusError) as refused:
        unpacked(gzip.compress(bytes(50))[:kept], 1000)
    assert refused.value.code is Code.INTERNAL


@pytest.mark.parametrize(("size", "fits"), [(999, True), (1000, True), (1001, False), (50_000_000, False)])
def test_no_more_is_unpacked_than_a_message_may_have(size: int, fits: bool) -> None:
    packed = gzip.compress(bytes(size))
    if fits:
        assert len(unpacked(packed, 1000)) == size
        return
    with pytest.raises(StatusError) as refused:
        unpacked(packed, 1000)
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    assert "limits.message_bytes_max" in refused.value.message


def test_zlib_without_gzips_header_is_refused() -> None:
    with pytest.raises(StatusError):
        unpacked(zlib.compress(bytes(50)), 1000)


@given(text=st.text())
def test_an_escaped_message_is_printable_ascii_and_comes_back(text: str) -> None:
    from urllib.parse import unquote

    sent = escaped(text.encode("utf-8", "replace").decode())
    assert all(0x20 <= byte <= 0x7E for byte in sent)
    assert unquote(sent.decode()) == text.encode("utf-8", "replace").decode()


def handed_calls(lane: BareLane) -> HandedCalls:
    serving = Serving(ModelTable([]), HealthBoard(SERVICES), "roost", "0", 1 << 20)
    return HandedCalls(serving, lane.lane, lambda: None)


async def test_a_handed_call_is_answered() -> None:
    lane = BareLane()
    calls, connection = handed_calls(lane), lane.connect()
    assert connection is not None
    stream = lane.call(connection, bytes(5), call_headers(SERVER_LIVE))
    calls.take()
    await asyncio.sleep(0.01)
    lane.flush()
    assert lane.clients[connection].so_far(stream).status == 0
    assert lane.count("SLOTS_IN_USE") == 0


@pytest.mark.parametrize("turns", [0, 1], ids=["before its task runs", "once it has run"])
async def test_the_slot_of_a_handed_call_comes_back_when_its_caller_leaves(turns: int) -> None:
    lane = BareLane()
    calls, connection = handed_calls(lane), lane.connect()
    assert connection is not None
    watched = lane.call(connection, bytes(5), call_headers("/grpc.health.v1.Health/Watch"))
    lane.call(connection, bytes(5), call_headers(SERVER_LIVE))
    calls.take()
    for _ in range(turns):
        await asyncio.sleep(0)
    lane.feed(connection, frame(RST_STREAM, 0, watched, CANCEL))
    lane.disconnect(connection)
    calls.drop_cancelled()
    await asyncio.sleep(0.01)
    assert lane.held == {}
    assert not calls._tasks
