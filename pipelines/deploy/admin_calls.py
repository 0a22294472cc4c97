"""A server's admin port as a deployment asks it: looks, events, and the two calls that change something.

Used by `deploying.py`, `rollout.py` and `server.py`. Always: who asks is named, and a change is asked for with the
revision that was seen and an id by which it is not done twice; what the server refuses is said in its own words.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from grpc import aio

from pipelines.deploy.watch import OPERATOR, Decision, decision_of_line
from protos.roost.v1 import admin_pb2, admin_pb2_grpc

LOOK_S_MAX: Final = 5.0
FETCH_S_MAX: Final = 600.0
"""A version is fetched, verified and compared with the stable one's signature before it is deployed."""
REPLY_BYTES_MAX: Final = 64 << 20
REASON_CHARACTERS: Final = 500
JOURNAL_LINES: Final = 200
KEPT_EVENTS: Final = 1
"""A sequence number below every event's: all that are kept, then those to come."""
# On loopback or at the end of a tunnel: not through a proxy that the environment names.
OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
    ("grpc.max_reconnect_backoff_ms", 1000), ("grpc.use_local_subchannel_pool", 1),
)  # fmt: skip


class NoAnswer(Exception):
    """Nobody answers, or not in time: it may be asked again."""


class Declined(Exception):
    """What the server says no to, in its own words. code: the gRPC status."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


class AdminPort:
    """Use as an async context manager. address: HOST:PORT. Calls raise NoAnswer and Declined."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def __aenter__(self) -> AdminPort:
        self._channel = aio.insecure_channel(self.address, OPTIONS)
        self._stub: Any = admin_pb2_grpc.AdminStub(self._channel)  # type: ignore[no-untyped-call]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close(None)

    # --- Looking -----------------------------------------------------------------------------------------------------
    async def models(self) -> tuple[str, ...]:
        reply = await self._ask("ListModels", admin_pb2.ListModelsRequest())
        return tuple(model.name for model in reply.models)

    async def describe(self, model: str) -> admin_pb2.DescribeModelReply:
        reply: admin_pb2.DescribeModelReply = await self._ask(
            "DescribeModel", admin_pb2.DescribeModelRequest(model=model)
        )
        return reply

    async def evidence(self, model: str) -> admin_pb2.GetEvidenceReply:
        reply: admin_pb2.GetEvidenceReply = await self._ask("GetEvidence", admin_pb2.GetEvidenceRequest(model=model))
        return reply

    async def drift(self, model: str) -> admin_pb2.GetDriftReply:
        reply: admin_pb2.GetDriftReply = await self._ask("GetDrift", admin_pb2.GetDriftRequest(model=model))
        return reply

    async def explain(self, model: str) -> tuple[str, ...]:
        reply = await self._ask("Explain", admin_pb2.ExplainRequest(model=model))
        return tuple(reply.words)

    async def decisions(self, model: str) -> list[Decision]:
        """The newest of the journal, as far as they are on disk; oldest first."""
        request = admin_pb2.GetJournalRequest(model=model, limit=JOURNAL_LINES)
        reply = await self._ask("GetJournal", request)
        return [one for entry in reply.entries if (one := decision_of_line(entry.line)) is not None]

    async def events(self, model: str, after: int = KEPT_EVENTS) -> AsyncIterator[admin_pb2.Event]:
        """Those that are kept, then those to come. Ends with NoAnswer when the server does."""
        try:
            async for event in self._stub.WatchEvents(admin_pb2.WatchEventsRequest(after_sequence=after, model=model)):
                yield event
        except grpc.RpcError as error:
            raise _raised(error) from error
        raise NoAnswer(f"{self.address}: the server ended the stream of events")

    # --- Changing ----------------------------------------------------------------------------------------------------
    async def deploy_canary(
        self, model: str, version: str, digest: str, plan: dict[str, Any], reason: str, revision: int
    ) -> None:
        """Returns once it is fetched and on its way to be loaded. Asked again at the same revision, it is the same."""
        plan_json = json.dumps(plan, sort_keys=True)
        content = hashlib.sha256(f"{digest}\0{version}\0{plan_json}\0{reason}".encode()).hexdigest()
        request = admin_pb2.DeployCanaryRequest(
            operation=_operation(reason, f"roost-pipeline/{content[:40]}/{revision}", revision),
            model=model, version=version, digest=digest, plan_json=plan_json, no_wait=True,
        )  # fmt: skip
        await self._ask("DeployCanary", request, FETCH_S_MAX)

    async def take_back(self, model: str, digest: str, reason: str, revision: int) -> None:
        """Only at this revision: without a canary, a rollback would take the stable version back."""
        operation = _operation(reason, f"roost-pipeline/back/{digest[:40]}/{revision}", revision)
        await self._ask("Rollback", admin_pb2.RollbackRequest(operation=operation, model=model))

    async def _ask(self, method: str, request: Any, limit_s: float = LOOK_S_MAX) -> Any:
        try:
            return await getattr(self._stub, method)(request, timeout=limit_s)
        except grpc.RpcError as error:
            raise _raised(error) from error


def _raised(error: Any) -> Exception:
    code, words = error.code(), " ".join((error.details() or error.code().name).split())
    gone = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
    return NoAnswer(f"{code.name}: {words}") if code in gone else Declined(code, words)


def _operation(reason: str, request_id: str, revision: int) -> admin_pb2.Operation:
    shown = "".join(char if char.isprintable() else " " for char in reason)[:REASON_CHARACTERS]
    return admin_pb2.Operation(operator=OPERATOR, reason=shown, request_id=request_id, if_revision=revision)


async def is_roost(address: str) -> bool:
    """Whether an admin port of Roost answers there."""
    async with AdminPort(address) as port:
        try:
            await asyncio.wait_for(port.models(), LOOK_S_MAX)
        except (NoAnswer, Declined, TimeoutError):
            return False
    return True
