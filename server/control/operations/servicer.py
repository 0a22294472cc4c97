"""roost.v1.Admin: the operators' methods, each checked, carried out and answered.

Served by `admin` on the admin port. Always: a refusal has one status and one line that says what to do; a call that
changes something acts once, however often it is made; metadata is not looked at. Methods that are not written out here
are UNIMPLEMENTED, which a test holds to be none.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import Message

from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from server.control.drift.watching import DriftWatch
from server.control.driver import Driver
from server.control.event_log import utc_text
from server.control.operations import replies
from server.control.operations.commands import Commands, read_wanted_plan
from server.control.operations.drift_replies import drift_reply
from server.control.operations.fields import (
    Who,
    read_digest,
    read_length,
    read_limit,
    read_operation,
    read_plan_json,
    read_ppm,
    read_reference,
)
from server.control.operations.refusal import OperationRefused, bad_field, shown
from server.control.operations.remembered import RememberedRequests, fingerprint
from server.control.slow_calls import SlowCalls
from server.judgement.words import in_words, what_would_change_it
from server.lifecycle import events
from server.lifecycle.explain import is_compared, told, would_change
from server.lifecycle.journal import BrokenJournal, Line, serving_at
from server.lifecycle.state import ModelState

log = logging.getLogger("roost.control")

WATCHERS_MAX: Final = 64

Servicer = TypeVar("Servicer")
Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply")
Method = Callable[[Any, Any, Any], Awaitable[Any]]


def answered(method: Method) -> Method:
    """Refusals become their status; what nobody foresaw becomes INTERNAL, and is logged."""

    @functools.wraps(method)
    async def call(self: Any, request: Any, context: Any) -> Any:
        try:
            return await method(self, request, context)
        except OperationRefused as refusal:
            await context.abort(refusal.code, str(refusal))
        except Exception:
            if context.done():
                raise
            log.exception("an operator's call failed")
            await context.abort(grpc.StatusCode.INTERNAL, f"{method.__name__}: a fault of ours; the log has more.")

    return call


class AdminServicer(admin_pb2_grpc.AdminServicer):
    """One server's."""

    def __init__(self, driver: Driver, drift: DriftWatch) -> None:
        self._driver = driver
        self._drift = drift
        self._commands = Commands(driver)
        self._remembered = RememberedRequests()
        self._remembered.restore(driver.requests_done)
        driver.on_requests_found = self._remembered.restore
        self._reading = SlowCalls("journal-read")
        self._watchers = 0

    # --- Looking -----------------------------------------------------------------------------------------------------
    @answered
    async def ListModels(self, request: admin_pb2.ListModelsRequest, context: Any) -> admin_pb2.ListModelsReply:
        names = self._driver.models
        return admin_pb2.ListModelsReply(
            models=[replies.model_state(self._driver, name) for name in names],
            frozen=bool(names) and all(self._driver.state(name).frozen for name in names),
            alerts=[f"{key}: {text}" for key, text in self._driver.alerts.items()],
        )

    @answered
    async def DescribeModel(
        self, request: admin_pb2.DescribeModelRequest, context: Any
    ) -> admin_pb2.DescribeModelReply:
        served = self._commands.served(request.model)
        known = reversed(self._driver.state(served.name).known)
        aliases = self._driver.aliases.get(served.name, {})
        return admin_pb2.DescribeModelReply(
            model=replies.model_state(self._driver, served.name),
            versions=[
                admin_pb2.RegistryVersion(artifact=replies.artifact(one), aliases=aliases.get(one.version, ()))
                for one in known
            ],
        )

    @answered
    async def GetEvidence(self, request: admin_pb2.GetEvidenceRequest, context: Any) -> admin_pb2.GetEvidenceReply:
        name = self._commands.served(request.model).name
        seen = self._driver.last_looks.get(name)
        words = ("No canary has been looked at.",) if seen is None else in_words(seen.judgement)
        return replies.evidence_reply(name, seen, words)

    @answered
    async def GetDrift(self, request: admin_pb2.GetDriftRequest, context: Any) -> admin_pb2.GetDriftReply:
        name, counts_of = self._commands.served(request.model).name, read_length(request.counts_of)
        return drift_reply(name, self._driver.state(name).stable, self._drift, counts_of)

    @answered
    async def Explain(self, request: admin_pb2.ExplainRequest, context: Any) -> admin_pb2.ExplainReply:
        name = self._commands.served(request.model).name
        entry = self._driver.last_entries.get(name)
        words = [] if entry is None else [told(entry)]
        seen = self._driver.last_looks.get(name)
        if seen is not None and self._concerns(name, seen.digest):
            words += in_words(seen.judgement)
        model = self._driver.state(name)
        words += would_change(model)
        current = self._driver.looks.get(name)
        if current is not None and is_compared(model):
            words += what_would_change_it(current.evidence, current.judgement.policy)
        words += self._drift.in_words(name)
        words += [f"{key}: {text}" for key, text in self._driver.alerts.items()]
        return admin_pb2.ExplainReply(model=name, words=words)

    @answered
    async def GetJournal(self, request: admin_pb2.GetJournalRequest, context: Any) -> admin_pb2.GetJournalReply:
        limit = read_limit(request.limit)
        names = [self._commands.served(request.model).name] if request.model else list(self._driver.models)
        at_utc = _read_moment(request.at_utc) if request.at_utc else ""
        lines, path, head = await self._lines()
        wanted = set(names)
        found = [replies.journal_entry(line.entry, line) for line in lines if line.entry.get("model") in wanted]
        reply = admin_pb2.GetJournalReply(
            entries=found[-limit:], head=head, pending=self._driver.keeper.box.pending, path=path
        )
        for name in names if at_utc else ():
            entry = serving_at(lines, name, at_utc)
            if entry is not None:
                reply.served.append(replies.served_then(name, entry))
        return reply

    async def WatchEvents(self, request: admin_pb2.WatchEventsRequest, context: Any) -> AsyncIterator[admin_pb2.Event]:
        if self._watchers >= WATCHERS_MAX:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"watchers: expected at most {WATCHERS_MAX}, got one more. Try later.",
            )
        try:
            if request.model:
                self._commands.served(request.model)
            if request.after_sequence < 0:
                raise bad_field(
                    "after_sequence", expected="0 or more", got=str(request.after_sequence),
                    hint="0 shows what is to come.",
                )  # fmt: skip
        except OperationRefused as refusal:
            await context.abort(refusal.code, str(refusal))
        self._watchers += 1
        try:
            seen = request.after_sequence or self._driver.events.last_sequence
            while True:
                for event in await self._driver.events.after(seen):
                    seen = event.sequence
                    if request.model in ("", event.model):
                        yield replies.event(event)
        finally:
            self._watchers -= 1

    # --- Changing ----------------------------------------------------------------------------------------------------
    @answered
    async def DeployCanary(self, request: admin_pb2.DeployCanaryRequest, context: Any) -> admin_pb2.OperationReply:
        def checked() -> tuple[str, Any]:
            ppm = read_ppm("weight_ppm", request, "weight_ppm") if request.HasField("weight_ppm") else None
            plan = read_wanted_plan(ppm, read_plan_json(request.plan_json))
            return read_reference("version", request.version), plan

        name, (version, plan) = self._commands.served(request.model).name, checked()
        return await self._once(
            request, [name],
            lambda who, print_: self._commands.deploy(
                name, version, plan, who, print_, wait=not request.no_wait, digest=request.digest
            ),
        )  # fmt: skip

    @answered
    async def SetTrafficWeights(
        self, request: admin_pb2.SetTrafficWeightsRequest, context: Any
    ) -> admin_pb2.OperationReply:
        ppm = read_ppm("canary_ppm", request, "canary_ppm")
        return await self._ask(request, [request.model], events.SetWeight, weight_ppm=ppm)

    @answered
    async def SetShadow(self, request: admin_pb2.SetShadowRequest, context: Any) -> admin_pb2.OperationReply:
        name = self._commands.served(request.model).name
        version = read_reference("version", request.version) if request.version else ""
        return await self._once(
            request, [name],
            lambda who, print_: self._commands.shadow(name, version, who, print_, wait=not request.no_wait),
        )  # fmt: skip

    @answered
    async def Promote(self, request: admin_pb2.PromoteRequest, context: Any) -> admin_pb2.OperationReply:
        return await self._ask(request, [request.model], events.Promote)

    @answered
    async def Rollback(self, request: admin_pb2.RollbackRequest, context: Any) -> admin_pb2.OperationReply:
        name = self._commands.served(request.model).name
        return await self._once(
            request, [name],
            lambda who, print_: self._commands.rollback(name, who, print_, quarantine=request.quarantine),
        )  # fmt: skip

    @answered
    async def Quarantine(self, request: admin_pb2.QuarantineRequest, context: Any) -> admin_pb2.OperationReply:
        return await self._of_digest(request, events.Quarantine, in_quarantine=False)

    @answered
    async def Release(self, request: admin_pb2.ReleaseRequest, context: Any) -> admin_pb2.OperationReply:
        return await self._of_digest(request, events.Release, in_quarantine=True)

    @answered
    async def Freeze(self, request: admin_pb2.FreezeRequest, context: Any) -> admin_pb2.OperationReply:
        return await self._ask(request, self._all_or(request.model, frozen=False), events.Freeze)

    @answered
    async def Unfreeze(self, request: admin_pb2.UnfreezeRequest, context: Any) -> admin_pb2.OperationReply:
        return await self._ask(request, self._all_or(request.model, frozen=True), events.Unfreeze)

    @answered
    async def Pause(self, request: admin_pb2.PauseRequest, context: Any) -> admin_pb2.OperationReply:
        return await self._ask(request, [request.model], events.Pause)

    @answered
    async def Resume(self, request: admin_pb2.ResumeRequest, context: Any) -> admin_pb2.OperationReply:
        return await self._ask(request, [request.model], events.Resume)

    # --- How ---------------------------------------------------------------------------------------------------------
    async def _ask(
        self, request: Any, names: Iterable[str], make: Callable[..., events.Request], **values: Any
    ) -> admin_pb2.OperationReply:
        """One event for each of the models."""
        about = [self._commands.served(name).name for name in names]
        return await self._once(request, about, lambda who, print_: self._each(about, who, print_, make, **values))

    async def _each(
        self, names: list[str], who: Who, print_: str, make: Callable[..., events.Request], **values: Any
    ) -> None:
        """Only the last model's entry says that the request is done: cut off before it, the rest is done when it is
        made again."""
        self._one_revision(who, names)
        for name in names:
            await self._commands.ask(name, who, print_ if name == names[-1] else "", make, **values)

    async def _once(
        self, request: Any, names: list[str], act: Callable[[Who, str], Awaitable[ModelState | None]]
    ) -> admin_pb2.OperationReply:
        who = read_operation(request.operation)
        print_ = fingerprint(request.DESCRIPTOR.name, request)

        async def acted() -> admin_pb2.OperationReply:
            await act(who, print_)
            return replies.operation_reply(self._driver, names)

        return await self._remembered.once(
            who.request_id, print_, acted, lambda: replies.operation_reply(self._driver, names)
        )

    async def _of_digest(
        self, request: Any, make: Callable[..., events.Request], *, in_quarantine: bool
    ) -> admin_pb2.OperationReply:
        prefix = read_digest(request.digest)
        if request.model:
            self._commands.served(request.model)
        # Where it was done before a restart, nothing is looked up again: the answer is about all that know the digest.
        about = [request.model] if request.model else self._commands.knowing(prefix)

        async def act(who: Who, print_: str) -> None:
            digest, names = self._commands.digest_of(prefix, request.model, in_quarantine=in_quarantine)
            about[:] = names
            # What an earlier try has done is left as it is, unless it is all: then the refusal says so.
            open_ = [name for name in names if (digest in self._driver.state(name).quarantine) is in_quarantine]
            await self._each(open_ or list(names), who, print_, make, digest=digest)

        return await self._once(request, about, act)

    def _one_revision(self, who: Who, names: list[str]) -> None:
        if who.if_revision is not None and len(names) != 1:
            raise bad_field(
                "operation.if_revision", expected="one model for it", got=f"{len(names)}", hint="Name the model."
            )

    def _all_or(self, name: str, *, frozen: bool) -> list[str]:
        """The model that is named, or all that are (not) frozen; all where none is, so that the refusal says so."""
        if name:
            return [name]
        names = list(self._driver.models)
        return [one for one in names if self._driver.state(one).frozen is frozen] or names

    async def _lines(self) -> tuple[tuple[Line, ...], str, str]:
        """The journal's lines, from memory where there is no file; its path, and the head as it was written: what the
        file says of itself would be no check on it."""
        journal = self._driver.journal
        if journal is None:
            entries = enumerate(self._driver.entries, start=1)
            return tuple(Line(number, "", entry) for number, entry in entries), "", ""
        try:
            lines = await self._reading.call(journal.lines)
        except (OSError, BrokenJournal) as error:
            raise OperationRefused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{journal.path}: {error}. Keep the file, and compare it with `roost journal verify`.",
            ) from error
        head = self._driver.keeper.head
        return lines, str(journal.path), str(head) if head.number else ""

    def _concerns(self, name: str, digest: str) -> bool:
        """True where the last look is at what the last decision was about."""
        entry = self._driver.last_entries.get(name, {})
        places = (entry.get("from") or {}, entry.get("to") or {})
        return any((place.get("canary") or {}).get("digest") == digest for place in places)


def _read_moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise bad_field(
            "at_utc", expected="a moment like 2026-01-31T14:03:00Z", got=shown(text), hint="Without a zone, it is UTC."
        ) from None
    return utc_text((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
