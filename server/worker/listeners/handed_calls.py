"""Calls that kernels hand over whole: answered by the Python servicers, a task each.

Used by the fast lane. How many may be in flight is bounded by the kernels (limits.handoffs_max), how long a message is
by limits.message_bytes_max. Always: a call's slot is named together with its generation, so that an answer which comes
after its stream has gone is dropped, never given to another call.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from native.http2.answers import BUSY, GONE
from native.http2.lane import Lane
from native.lane.layout import FREE, HANDED, LANE_HANDED_COUNT, LANE_NOW_NS, NO_CONNECTION
from native.wire.codes import FRAME_HEADER_BYTES, NO_METHOD
from server.worker.routing import Wish
from server.worker.servicers.answering import answer, answers
from server.worker.servicers.call import Call, Serving, UnaryMethod
from server.worker.servicers.methods import METHODS, method_not_served
from server.worker.status import Code, StatusError, deadline_exceeded

log = logging.getLogger("roost.worker")

PATHS = tuple(METHODS)
GZIP_WINDOW_BITS = 31
# Unpacked on the loop up to this size; more goes to a thread.
UNPACKED_INLINE_BYTES_MAX = 64 * 1024
BUSY_PAUSE_S = 0.02
# Watches that a worker keeps: enough for every balancer in front of it.
STREAMS_MAX = 256
# What grpc-message carries as it is: printable ASCII but for the percent sign.
UNESCAPED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class HandedCalls:
    """Tasks of the calls that were handed over. flush_soon: told when an answer is ready to be sent."""

    def __init__(self, serving: Serving, lane: Lane, flush_soon: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._serving = serving
        self._lane = lane
        self._flush_soon = flush_soon
        self._streams = 0
        self._tasks: dict[asyncio.Task[None], tuple[int, int]] = {}

    def take(self) -> None:
        """Starts a task for each call that kernels have put on the list since."""
        count = int(self._lane.words[LANE_HANDED_COUNT])
        self._lane.words[LANE_HANDED_COUNT] = 0
        for slot in self._lane.handed[:count].tolist():
            generation = int(self._lane.slots[slot]["generation"])
            task = self._loop.create_task(self._serve(slot, generation))
            self._tasks[task] = (slot, generation)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Whatever a task ended with, its call does not keep its slot: one that is cancelled early never even runs."""
        slot, generation = self._tasks.pop(task)
        entry = self._lane.slots[slot]
        if entry["generation"] != generation or entry["state"] != HANDED:
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a call failed by an error of the server's own", exc_info=error)
        self._end(slot, generation, False, Code.CANCELLED if error is None else Code.INTERNAL, "")

    def drop_cancelled(self) -> None:
        """Ends the tasks whose callers have gone: nobody would take their answers."""
        for task, (slot, generation) in list(self._tasks.items()):
            entry = self._lane.slots[slot]
            if entry["generation"] != generation or entry["state"] == FREE or entry["connection"] == NO_CONNECTION:
                task.cancel()

    async def close(self) -> None:
        """Ends all tasks, and with them the runs that they wait for."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def refuse(self, slot: int, generation: int, error: StatusError) -> None:
        """Answers a call with a status, whoever worked on it."""
        self._lane.words[LANE_NOW_NS] = time.monotonic_ns()
        self._lane.answer_status(slot, generation, error.code, escaped(error.message))
        self._flush_soon()

    async def _serve(self, slot: int, generation: int) -> None:
        entry = self._lane.slots[slot]
        if entry["method"] == NO_METHOD:
            self._refuse_path(slot, generation)
            return
        path = PATHS[int(entry["method"])]
        deadline_ns = int(entry["deadline_ns"]) or None
        message = ctypes.string_at(
            int(entry["request_address"]) + FRAME_HEADER_BYTES, int(entry["request_bytes"]) - FRAME_HEADER_BYTES
        )
        compressed = bool(entry["compressed"])
        wish = Wish(*(int(entry[word]) for word in ("keyed", "key_hash", "pin", "evidence")))
        remaining_s = None if deadline_ns is None else (deadline_ns - time.monotonic_ns()) / 1e9
        streaming = False
        try:
            async with asyncio.timeout(remaining_s):
                if compressed:
                    message = await self._unpacked(message)
                call = Call(message, deadline_ns, wish)
                method = METHODS[path]
                if isinstance(method, UnaryMethod):
                    reply = await answer(self._serving, path, method, call)
                    await self._send(slot, generation, reply, last=True)
                    return
                with self._one_more_stream():
                    async for part in answers(self._serving, path, method, call):
                        if await self._send(slot, generation, part, last=False) == GONE:
                            return
                        streaming = True
            self._end(slot, generation, streaming, Code.OK, "")
        except TimeoutError:
            error = deadline_exceeded("while it was answered")
            self._end(slot, generation, streaming, error.code, error.message)
        except StatusError as error:
            self._end(slot, generation, streaming, error.code, error.message)
        except asyncio.CancelledError:
            self._end(slot, generation, streaming, Code.CANCELLED, "")
            raise

    def _refuse_path(self, slot: int, generation: int) -> None:
        """No method has this path, which the kernels left in the message's place."""
        entry = self._lane.slots[slot]
        path = ctypes.string_at(int(entry["request_address"]), int(entry["request_bytes"]))
        self.refuse(slot, generation, method_not_served(path.decode(errors="replace")))

    @contextmanager
    def _one_more_stream(self) -> Iterator[None]:
        """Counts a streaming call, which may stay for ever, or refuses it: slots are for predictions."""
        if self._streams >= STREAMS_MAX:
            raise StatusError(
                Code.RESOURCE_EXHAUSTED,
                f"call: expected at most {STREAMS_MAX} streams on a worker, got one more. Use Check in place of Watch.",
            )
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _send(self, slot: int, generation: int, reply: bytes, *, last: bool) -> int:
        while True:
            self._lane.words[LANE_NOW_NS] = time.monotonic_ns()
            code = self._lane.answer_message(slot, generation, reply, last=last)
            if code != BUSY:
                self._flush_soon()
                return code
            await asyncio.sleep(BUSY_PAUSE_S)

    def _end(self, slot: int, generation: int, streaming: bool, code: Code, message: str) -> None:
        self._lane.words[LANE_NOW_NS] = time.monotonic_ns()
        if streaming:
            self._lane.end_stream(slot, generation, code, escaped(message))
        else:
            self._lane.answer_status(slot, generation, code, escaped(message))
        self._flush_soon()

    async def _unpacked(self, message: bytes) -> bytes:
        if len(message) <= UNPACKED_INLINE_BYTES_MAX // 16:
            return unpacked(message, self._serving.message_bytes_max)
        return await self._loop.run_in_executor(None, unpacked, message, self._serving.message_bytes_max)


def unpacked(message: bytes, message_bytes_max: int) -> bytes:
    """A gzip message's content. Raises StatusError where it is none, or longer than a message may be."""
    unpacking = zlib.decompressobj(GZIP_WINDOW_BITS)
    try:
        content = unpacking.decompress(message, message_bytes_max + 1)
    except zlib.error as error:
        raise StatusError(
            Code.INTERNAL, f"message: expected gzip, as grpc-encoding says, got {error}. Compress it whole."
        ) from error
    if len(content) > message_bytes_max or unpacking.unconsumed_tail:
        raise StatusError(
            Code.RESOURCE_EXHAUSTED,
            "message: unpacks to more than limits.message_bytes_max. Send fewer rows a call.",
        )
    if not unpacking.eof:
        raise StatusError(Code.INTERNAL, "message: expected gzip, got less than all of it. Compress it whole.")
    return content


def escaped(message: str) -> bytes:
    """A status message as `grpc-message` carries it: percent-encoded UTF-8 (gRPC over HTTP/2, Responses)."""
    return quote(message, safe=UNESCAPED).encode("ascii")
