"""An admin port that plays a part: a real gRPC server of `roost.v1.Admin` whose state and decisions a test sets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from pipelines.deploy.watch import Decision
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from tests.pipelines.deploy.planted_decisions import MODEL, VERSIONS, event, line

Answer = Callable[[Any], None]


class PlayedAdmin(admin_pb2_grpc.AdminServicer):
    """on: by method, what happens at a call; it may raise Refused. asked: the changing requests, in their order."""

    def __init__(self, state: admin_pb2.ModelState) -> None:
        self.state = state
        self.decided: list[Decision] = []
        self.untold: list[Decision] = []
        self.on: dict[str, Answer] = {}
        self.asked: list[Any] = []
        self.served: list[str] = [MODEL]
        self.known: dict[str, str] = {number: digest for digest, number in VERSIONS.items()}
        self.calls_a_look = 0
        self._calls = 0
        self._news = threading.Condition()
        self.address = ""
        self.server: grpc.Server | None = None

    def end(self) -> None:
        """It goes away at once."""
        assert self.server is not None
        self.server.stop(None).wait()

    def decide(self, decision: Decision, state: admin_pb2.ModelState, *, told: bool = True) -> None:
        """told: as an event, too; else only the journal has it."""
        with self._news:
            self.state = state
            (self.decided if told else self.untold).append(decision)
            self._news.notify_all()

    def ListModels(self, request: Any, context: Any) -> admin_pb2.ListModelsReply:
        return admin_pb2.ListModelsReply(models=[admin_pb2.ModelState(name=name) for name in self.served])

    def DescribeModel(self, request: Any, context: Any) -> admin_pb2.DescribeModelReply:
        versions = [
            admin_pb2.RegistryVersion(artifact=admin_pb2.Artifact(version=version, digest=digest))
            for version, digest in self.known.items()
        ]
        return admin_pb2.DescribeModelReply(model=self.state, versions=versions)

    def GetEvidence(self, request: Any, context: Any) -> admin_pb2.GetEvidenceReply:
        self._look("GetEvidence", request, context)
        self._calls += self.calls_a_look
        reply = admin_pb2.GetEvidenceReply(model=MODEL, verdict="wait", words=["Not enough evidence."])
        reply.canary.CopyFrom(self.state.canary)
        reply.epochs.add(canary_ppm=250_000, stable=admin_pb2.ArmCounts(requests=self._calls))
        return reply

    def GetDrift(self, request: Any, context: Any) -> admin_pb2.GetDriftReply:
        reply = admin_pb2.GetDriftReply(model=MODEL)
        reply.canary.CopyFrom(admin_pb2.CanaryDrift(artifact=self.state.canary, whose="same", why="as the stable"))
        return reply

    def Explain(self, request: Any, context: Any) -> admin_pb2.ExplainReply:
        self._look("Explain", request, context)
        return admin_pb2.ExplainReply(model=MODEL, words=["The last decision.", "What would change it."])

    def GetJournal(self, request: Any, context: Any) -> admin_pb2.GetJournalReply:
        known = sorted((*self.decided, *self.untold), key=lambda one: one.revision)
        return admin_pb2.GetJournalReply(entries=[admin_pb2.JournalEntry(line=line(one)) for one in known])

    def WatchEvents(self, request: Any, context: Any) -> Iterator[admin_pb2.Event]:
        sent = 0
        while context.is_active():
            with self._news:
                if len(self.decided) <= sent:
                    self._news.wait(0.1)
                fresh, sent = self.decided[sent:], len(self.decided)
            yield from (event(one, 100 + one.revision) for one in fresh)

    def DeployCanary(self, request: Any, context: Any) -> admin_pb2.OperationReply:
        return self._changed("DeployCanary", request, context)

    def Rollback(self, request: Any, context: Any) -> admin_pb2.OperationReply:
        return self._changed("Rollback", request, context)

    def _look(self, method: str, request: Any, context: Any) -> None:
        try:
            self.on.get(method, lambda request: None)(request)
        except Refused as refused:
            context.abort(refused.code, refused.words)

    def _changed(self, method: str, request: Any, context: Any) -> admin_pb2.OperationReply:
        self.asked.append(request)
        try:
            self.on[method](request)
        except Refused as refused:
            context.abort(refused.code, refused.words)
        return admin_pb2.OperationReply(models=[self.state])


class Refused(Exception):
    """What the played server says no with."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


@contextmanager
def serving(admin: PlayedAdmin) -> Iterator[PlayedAdmin]:
    server = admin.server = grpc.server(futures.ThreadPoolExecutor(6))
    admin_pb2_grpc.add_AdminServicer_to_server(admin, server)  # type: ignore[no-untyped-call]
    admin.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield admin
    finally:
        server.stop(None).wait()
