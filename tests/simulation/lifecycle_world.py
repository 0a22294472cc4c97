"""A world for the lifecycle: a plane, workers, a disk and a registry that outlive the control process, which may die.

`World` is what a crash leaves behind; `Control` is what it ends. Everything that Control does to the world passes a
point at which the world may end it. What is decided, kept and recovered is the server's own code: `step`, the ring's
texts, `follow` and `missing`, the journal's lines. Always
checked: whoever is routed to is loaded and not in quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

from native.plane.routes import Route
from server.control.decision_text import Decision, decision_text
from server.control.recovery import NOTES, follow, missing
from server.control.state_document import state_document
from server.lifecycle.actions import Action, Journal, Load, ProjectRegistry, StoreRoute, Unload
from server.lifecycle.documents import document_of
from server.lifecycle.events import Event
from server.lifecycle.journal import Head, Line, next_line, read, repaired, verify
from server.lifecycle.refusal import Refused
from server.lifecycle.state import Artifact, ModelState
from server.lifecycle.step import served, step

MODEL: Final = "m"
RING: Final = 128


class Crash(Exception):
    """The control process ends here."""


class Violation(AssertionError):
    """Something that must always hold does not."""


@dataclass
class World:
    """crash_in: points until the control process ends; None: it lives. planted: names of faults of the shell."""

    route: ModelState
    ring: list[str] = field(default_factory=list)
    journal: bytes = b""
    anchor: Head = field(default_factory=Head)
    disk_full: bool = False
    registry: dict[str, Any] = field(default_factory=dict)
    registry_down: bool = False
    loaded: set[str] = field(default_factory=set)
    crash_in: int | None = None
    crashes: int = 0
    points: int = 0
    planted: frozenset[str] = frozenset()

    def point(self) -> None:
        """Control may end here."""
        self.points += 1
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                self.crashes += 1
                raise Crash

    def store(self, model: ModelState) -> None:
        """One store: the route is another from here on."""
        if model.revision <= self.route.revision:
            raise Violation(f"revision {model.revision} after {self.route.revision}")
        self.route = model
        self.check_route()

    def check_route(self) -> None:
        canary = self.route.canary
        routed = [self.route.stable, self.route.shadow if self.route.shadow_started else None]
        if canary is not None and canary.started:
            routed.append(canary.artifact)
        for artifact in routed:
            if artifact is not None and artifact.digest not in self.loaded:
                raise Violation(f"{artifact.version} is routed to and not loaded")
            if artifact is not None and artifact.digest in self.route.quarantine:
                raise Violation(f"{artifact.version} is routed to and in quarantine")

    def lines(self) -> tuple[Line, ...]:
        return tuple(read(self.journal))


class Control:
    """The shell around `step`, as plain as the server's: actions in their order, journal and registry when they can."""

    def __init__(self, world: World) -> None:
        """Starts on what the one before has left."""
        self.world = world
        world.journal, _ = repaired(world.journal)
        self.head = verify(world.journal)
        followed = follow([MODEL], [Route(revision=world.route.revision)], (), world.ring, {})
        self.model = followed.kept[0].model
        self.loading: dict[str, Artifact] = {}
        self.news: list[str] = []
        self.entries: list[Mapping[str, Any]] = []
        if "forgets what was not written" not in world.planted:
            self.entries += missing(followed.decisions, world.lines())
        self.document: str | None = document_of(self.model).to_text()
        self._converge(self.model.needed.values())

    def apply(self, event: Event) -> bool:
        """False where the event was a request that was refused."""
        try:
            after, actions = step(self.model, event)
        except Refused:
            return False
        for action in self._ordered(actions):
            self.world.point()
            self._do(after, action)
            self.world.point()
        self.model = after
        self.write()
        return True

    def write(self) -> None:
        """What waits for the disk and the registry, as far as they take it."""
        world = self.world
        while self.entries and not world.disk_full:
            self._append(self.entries[0])
            self.entries.pop(0)
        if self.document is not None and not world.registry_down:
            world.point()
            world.registry["document"] = self.document
            world.point()
            world.registry["stable"] = self.model.stable
            world.registry["last_safe"] = self.model.last_safe
            world.anchor = self.head
            self.document = None

    def _do(self, after: ModelState, action: Action) -> None:
        world = self.world
        match action:
            case StoreRoute(model, entry):
                world.ring.append(decision_text(Decision(entry, state_document(model))))
                del world.ring[:-RING]
                world.point()
                world.store(model)
            case Journal(entry):
                self.entries.append(entry)
                if not world.disk_full and "journal first" in world.planted:
                    self._append(self.entries.pop())
            case ProjectRegistry(model):
                self.document = document_of(model).to_text()
            case Load(artifact):
                self._converge([artifact])
            case Unload(artifact):
                if artifact.digest in world.route.needed:
                    raise Violation(f"{artifact.version} is asked to leave and needed")
                self.loading.pop(artifact.digest, None)
                world.loaded.discard(artifact.digest)

    def _converge(self, wanted: Iterable[Artifact]) -> None:
        for artifact in wanted:
            if artifact.digest in self.world.loaded:
                self.news.append(artifact.digest)
            else:
                self.loading[artifact.digest] = artifact

    def _append(self, entry: Mapping[str, Any]) -> None:
        """As a crash may find it: nothing, half a line, or the line."""
        world = self.world
        whole = world.journal
        line, head = next_line(self.head, entry)
        world.point()
        world.journal = whole + line[: len(line) // 2]
        world.point()
        world.journal = whole + line
        self.head = head

    def _ordered(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        if "journal first" in self.world.planted:
            return tuple(sorted(actions, key=lambda action: not isinstance(action, Journal)))
        if "unload first" in self.world.planted:
            return tuple(sorted(actions, key=lambda action: not isinstance(action, Unload)))
        return actions


def check_projections(world: World, control: Control) -> None:
    """Journal = route = registry, and nothing was lost on the way."""
    if control.entries or control.document is not None:
        raise Violation("something still waits to be written")
    verify(world.journal, world.anchor)
    decisions = [line.entry for line in world.lines() if line.entry["kind"] not in NOTES]
    revisions = [entry["revision"] for entry in decisions]
    if revisions != list(range(1, world.route.revision + 1)):
        raise Violation(f"one entry a decision: expected 1 to {world.route.revision}, got {revisions}")
    for earlier, later in pairwise(decisions):
        if earlier["to"] != later["from"]:
            raise Violation(f"revision {later['revision']} does not begin where the one before it ended")
    if decisions[-1]["to"] != served(world.route):
        raise Violation("the journal's last entry is not what is served")
    if world.registry["document"] != document_of(world.route).to_text():
        raise Violation("the registry does not say what is served")
    aliases = (world.registry["stable"], world.registry["last_safe"])
    if aliases != (world.route.stable, world.route.last_safe):
        raise Violation("the aliases do not say what is served")
    if _lasting(control.model) != _lasting(world.route):
        raise Violation("control believes something else than is served")


def _lasting(model: ModelState) -> Any:
    """A state without what only a moment knows."""
    canary = model.canary
    if canary is not None:
        canary = replace(canary, requests=0, verdict="wait", step_started_ns=0)
    return replace(model, canary=canary, known=(), ready=frozenset(), incidents_ns=(), withheld=frozenset())
