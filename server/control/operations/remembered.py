"""Requests that were done: a call that is made again is answered as it was the first time.

Used by the servicer for every call that changes something. Always: two calls with one id never both act, also while
the first is under way; an id that comes with other content is refused; REMEMBERED_MAX are kept, the oldest forgotten.
What was refused is not remembered: nothing was done, and trying again is right.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from protos.roost.v1 import admin_pb2
from server.control.operations.refusal import bad_field

REMEMBERED_MAX: Final = 1000


def fingerprint(method: str, request: Message) -> str:
    """What a request asks for, as 16 hexadecimal digits: method and all fields."""
    content = method.encode() + b"\0" + request.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True)
class _Done:
    fingerprint: str
    reply: bytes | None  # None: done before a restart; the answer is made anew


class RememberedRequests:
    """One loop's."""

    def __init__(self) -> None:
        self._done: dict[str, _Done] = {}
        self._running: dict[str, tuple[str, asyncio.Task[admin_pb2.OperationReply]]] = {}

    def restore(self, requests: Iterable[tuple[str, str]]) -> None:
        """(id, fingerprint) of the journal's entries, oldest first. What was done since is newer, and stays."""
        since, self._done = self._done, {}
        for request_id, print_ in requests:
            self._remember(request_id, _Done(print_, None))
        for request_id, done in since.items():
            self._remember(request_id, done)

    async def once(
        self,
        request_id: str,
        print_: str,
        act: Callable[[], Coroutine[Any, Any, admin_pb2.OperationReply]],
        again: Callable[[], admin_pb2.OperationReply],
    ) -> admin_pb2.OperationReply:
        """What `act` answers, or answered before. `again` makes the answer anew where it is not known any more.

        A caller that hangs up does not end `act`: what was begun is done, and remembered.
        """
        running = self._running.get(request_id)
        if running is not None:
            self._same(running[0], print_)
            return _replayed((await asyncio.shield(running[1])).SerializeToString())
        done = self._done.get(request_id)
        if done is not None:
            self._same(done.fingerprint, print_)
            return _replayed(done.reply if done.reply is not None else again().SerializeToString())
        task = asyncio.create_task(self._run(request_id, print_, act))
        task.add_done_callback(_looked_at)
        self._running[request_id] = (print_, task)
        return await asyncio.shield(task)

    async def _run(
        self, request_id: str, print_: str, act: Callable[[], Coroutine[Any, Any, admin_pb2.OperationReply]]
    ) -> admin_pb2.OperationReply:
        try:
            answer = await act()
            self._remember(request_id, _Done(print_, answer.SerializeToString()))
            return answer
        finally:
            del self._running[request_id]

    def _same(self, known: str, print_: str) -> None:
        if known != print_:
            raise bad_field(
                "operation.request_id",
                expected="an id that no other operation had",
                got="that of one with other content",
                hint="Give each operation an id of its own, such as a UUID.",
            )

    def _remember(self, request_id: str, done: _Done) -> None:
        self._done.pop(request_id, None)
        self._done[request_id] = done
        while len(self._done) > REMEMBERED_MAX:
            del self._done[next(iter(self._done))]


def _replayed(encoded: bytes) -> admin_pb2.OperationReply:
    reply = admin_pb2.OperationReply.FromString(encoded)
    reply.replayed = True
    return reply


def _looked_at(task: asyncio.Task[admin_pb2.OperationReply]) -> None:
    """A refusal that nobody waits for any more is no fault of ours."""
    if not task.cancelled():
        task.exception()
