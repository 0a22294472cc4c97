"""The driver: keeps each model's state, lets `lifecycle.step` decide, and does what it says, in order.

One a server, in the control process's loop. Events come from operators (`operations`), from looks at the plane
(`looks`), from loads and from the registry. Always: one event at a time; the route with its decision is published
first, journal and registry follow through outboxes and never hold a decision up; a restart finds in the plane what was
decided, and makes up for what was not written.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from native.plane.evidence import Cell, EvidenceReader
from native.plane.layout import PLANE_STARTED_UTC_NS, Plane
from native.plane.routes import Route
from server.control.artifact_source import ArtifactSource
from server.control.decision_text import BREAK_GLASS, Decision, decision_text
from server.control.event_log import EventLog, utc_text
from server.control.incidents import IncidentWatch
from server.control.journal_file import JournalFile
from server.control.journal_keeper import JournalKeeper, identity
from server.control.judging import Look
from server.control.loading import ArtifactLoader, TryArtifact
from server.control.loads import Loads
from server.control.outbox import Outbox
from server.control.plane_lock import own_plane
from server.control.recovery import NOTES, begin, follow, requests_of
from server.control.registry_teller import RegistryTeller
from server.control.route_publisher import RoutePublisher
from server.control.routes_wanted import wanted_route
from server.control.seating import Seating
from server.control.state_document import decision_document
from server.control.state_folder import KeptState, StateFolder
from server.lifecycle.actions import Action, Journal, Load, ProjectRegistry, StoreRoute, Unload
from server.lifecycle.events import Event, Incident, Judged, Promote, Request, Tick
from server.lifecycle.explain import is_of_weights, sentence, why_not_serving
from server.lifecycle.journal import Line
from server.lifecycle.refusal import Refused, StaleRevision, Why
from server.lifecycle.state import Artifact, ModelState
from server.lifecycle.step import step
from server.processes import ModelPin
from server.settings import Settings

LOCK_WAIT_S: Final = 10.0
LINES_KEPT: Final = 2000
STOP_WAIT_S: Final = 1.0
TOLD_REST_S: Final = 1.0  # that the registry knows: where that was not kept, it is told once more


@dataclass(frozen=True)
class Served:
    """A model of the settings. index: its place there, and in the plane. in_registry: not a bare file."""

    index: int
    name: str
    in_registry: bool


class Driver:
    """Call `start`, keep `run` running, call `stop`."""

    def __init__(
        self, plane: Plane, settings: Settings, pins: Sequence[ModelPin], source: ArtifactSource, trial: TryArtifact
    ) -> None:
        self._plane = plane
        self._pins = pins
        self.settings = settings
        self.source = source
        with_registry = settings.registry.location is not None
        self.models = {
            pin.name: Served(index, pin.name, with_registry and settings.models[index].onnx is None)
            for index, pin in enumerate(pins)
        }
        self.events = EventLog()
        self.alerts: dict[str, str] = {}
        self.seating = Seating(plane)
        self.incidents = IncidentWatch(plane, settings.trial.worker_memory_bytes_max)
        self.looks: dict[str, Look] = {}  # of the canaries there are
        self.last_looks: dict[str, Look] = {}  # of the last canary each
        self.aliases: dict[str, Mapping[str, tuple[str, ...]]] = {}  # the registry's, by model and version
        self.last_entries: dict[str, Mapping[str, Any]] = {}
        self.requests_done: tuple[tuple[str, str], ...] = ()
        self.folder = StateFolder(settings.lifecycle.state if with_registry else None)
        self.journal = JournalFile(settings.lifecycle.state) if with_registry else None
        self._lock = own_plane(plane.fd)
        self._one_at_a_time = asyncio.Lock()
        self._kept: dict[str, KeptState] = {}
        self._changed = asyncio.Event()
        self._reader = EvidenceReader(plane)
        loader = ArtifactLoader(source, self.seating, self.incidents, settings.trial, trial)
        self.loads = Loads(loader, self)
        self._entries: list[Mapping[str, Any]] = []
        self.decisions_counted: Counter[tuple[str, str]] = Counter()
        self.keeper = JournalKeeper(self.journal, partial(self.alert, "journal"), self._on_disk, self._found_again)
        self.on_requests_found: Callable[[Iterable[tuple[str, str]]], None] = lambda _: None
        held = tuple(name for name, served in self.models.items() if served.in_registry)
        self.registry = RegistryTeller(source, self.keeper, held, partial(self.alert, "registry"), self._is_told)
        states, evidence = partial(self.alert, "states"), partial(self.alert, "evidence")
        self.states_box: Outbox[tuple[KeptState, ...]] = Outbox(
            "states", self.folder.write_states, states, independent=True
        )
        self.evidence_box: Outbox[bytes] = Outbox("evidence", self.folder.write_evidence, evidence)

    # --- Life --------------------------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Finds or makes the first routes. Raises PlaneHeld where another process writes them."""
        self._lock.take(LOCK_WAIT_S)
        self.publisher = RoutePublisher(self._plane, len(self.models), pin_allowed=self.settings.lifecycle.pin_allowed)
        self.book = self.folder.read_evidence(str(int(self._plane.words[PLANE_STARTED_UTC_NS])))
        kept = self.folder.read_states()
        lines = await self.keeper.read()
        self._entries = [line.entry for line in lines[-LINES_KEPT:]]
        if self.publisher.epoch == 0:
            self._begin(kept, lines)
        else:
            self._follow(kept, lines)
        self.requests_done = requests_of([*(line.entry for line in lines), *self._entries])
        self.registry.anchor_everywhere()  # the one before may have been killed between a line and its anchor
        for name, served in self.models.items():
            self._load_what_is_needed(name, served)
        self._keep_states()
        self._tell_hold()

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for box in self.boxes.values():
                group.create_task(box.run())

    async def stop(self) -> None:
        """Gives what waits a moment to be written."""
        self.loads.cancel_all()
        self.evidence_box.put("evidence", self.book.encode())
        await self.keeper.box.drained(STOP_WAIT_S)  # first: what it has written is told the registry
        await asyncio.gather(*(box.drained(STOP_WAIT_S) for box in (self.registry.box, self.evidence_box)))
        await self.states_box.drained(STOP_WAIT_S)  # last: whether the registry has been told is kept there
        self._lock.release()

    # --- What others ask ---------------------------------------------------------------------------------------------
    def state(self, name: str) -> ModelState:
        return self._kept[name].model

    def kept(self, name: str) -> KeptState:
        return self._kept[name]

    def route(self, name: str) -> Route:
        return self.publisher.routes[self.models[name].index]

    def now(self) -> tuple[int, str]:
        """(monotonic nanoseconds, UTC)."""
        return time.monotonic_ns(), utc_text(time.time())

    @property
    def boxes(self) -> Mapping[str, Outbox[Any]]:
        """What waits to be written, by where it goes."""
        return {
            "journal": self.keeper.box,
            "registry": self.registry.box,
            "states": self.states_box,
            "evidence": self.evidence_box,
        }

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """The journal's newest, those that wait to be written among them; oldest first."""
        return self._entries

    def not_serving(self) -> tuple[str, ...]:
        """Why the server is not ready: a line for each model that nothing serves."""
        return tuple(why for why in (why_not_serving(self.state(name)) for name in self.models) if why)

    async def changed(self) -> None:
        """Returns when any model's state has changed."""
        await self._changed.wait()

    async def apply(self, name: str, event: Event, request: str = "", if_revision: int | None = None) -> ModelState:
        """Decides and acts. request: an operator's request as a fingerprint. Raises Refused, StaleRevision."""
        async with self._one_at_a_time:
            model = replace(self._kept[name].model, held=self.keeper.hold)
            if if_revision is not None and if_revision != model.revision:
                raise StaleRevision(if_revision, model.revision)
            event = self._unless_banned(name, model, event)
            self.keeper.check(model, event)
            after, actions = step(model, event)
            await self._act(name, model, after, actions, request if isinstance(event, Request) else "")
            return self._kept[name].model

    def _unless_banned(self, name: str, model: ModelState, event: Event) -> Event:
        """No promotion of what has just ended a worker: no worker would load it. Raises Refused for an operator's."""
        canary = model.canary
        if canary is None or not self.seating.banned(self.models[name].index, canary.artifact.digest):
            return event
        if isinstance(event, Promote):
            raise Refused(
                Why.FAILED_PRECONDITION, "model", "a canary that workers can load", "one that has ended a worker",
                "Roll it back: roost rollback.",
            )  # fmt: skip
        if isinstance(event, Judged | Tick):
            detail = "a worker ended in a run of this version"
            return Incident(now_ns=event.now_ns, at_utc=event.at_utc, digest=canary.artifact.digest, detail=detail)
        return event

    def collect(self) -> None:
        """Every worker's counts, into the book."""
        self.book.collect(self._reader.read(self.book.open_epochs))

    def cells(self) -> Iterator[Cell]:
        """Every worker's counts as they are now. With a buffer of its own: a scrape may ask from another thread."""
        return EvidenceReader(self._plane).read()

    def alert(self, key: str, text: str | None) -> None:
        """None: it is over."""
        if text is not None and self.alerts.get(key) != text:
            self.alerts[key] = text
            self.events.append("alert", f"{key}: {text}")
        elif text is None and self.alerts.pop(key, None) is not None:
            self.events.append("alert_over", key)

    # --- Doing -------------------------------------------------------------------------------------------------------
    async def _act(
        self, name: str, before: ModelState, after: ModelState, actions: Sequence[Action], request: str
    ) -> None:
        served = self.models[name]
        known = self._kept[name]
        released = (known.released | (before.quarantine.keys() - after.quarantine.keys())) - after.quarantine.keys()
        kept = replace(known, model=after, released=frozenset(released))
        stored = urgent = False
        for action in actions:
            match action:
                case StoreRoute():
                    await self._store(served, kept, _signed(action.entry, request), action.urgent)
                    stored, urgent = True, action.urgent
                case Journal():
                    self._write(_signed(action.entry, request))
                case ProjectRegistry():
                    self._tell_registry(served, of_weights=is_of_weights(self.last_entries[name]), urgent=urgent)
                case Load():
                    self.loads.begin(served.index, served.name, action.artifact)
                case Unload():
                    self._unload(served, action.artifact)
        if not stored:
            self._kept[name] = kept
        else:
            self._keep_states()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _store(self, served: Served, kept: KeptState, entry: Mapping[str, Any], urgent: bool) -> None:
        self.collect()
        route = self._route(served, kept.model)
        canary = kept.model.canary.artifact.digest if kept.model.canary is not None else None
        fresh = [served.index] if route.canary is not None and self.book.begins_anew(served.name, canary) else []
        self.book.begin(served.index, served.name, canary, route)
        text = decision_text(Decision(entry, decision_document(served.index, kept.model, kept.released)))
        await self.publisher.publish_soon({served.index: route}, [text], urgent=urgent, fresh=fresh)
        self._kept[served.name] = kept
        self.last_entries[served.name] = entry
        if kept.model.canary is None:
            self.looks.pop(served.name, None)
        self._tell_decided(entry)

    def _tell_decided(self, entry: Mapping[str, Any]) -> None:
        self.decisions_counted[str(entry["model"]), str(entry["kind"])] += 1
        self.events.decided(entry)

    def _route(self, served: Served, model: ModelState) -> Route:
        return self.publisher.next_route(served.index, wanted_route(self.seating, served.index, model))

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._note_entry(entry)
        self.keeper.put(entry)
        self._tell_hold()

    def _note_entry(self, entry: Mapping[str, Any]) -> None:
        self._entries.append(entry)
        del self._entries[:-LINES_KEPT]
        if entry.get("kind") in NOTES:
            self.events.append("note", sentence(entry), model=str(entry.get("model")), detail=entry)

    def _tell_registry(self, served: Served, *, of_weights: bool = False, urgent: bool = True) -> None:
        """Kept as untold until it is: the next start of the server would follow the alias that stands there."""
        if served.in_registry:
            kept = self._kept[served.name]
            untold_revision = kept.model.revision if not of_weights or kept.untold_revision else 0
            self._kept[served.name] = replace(kept, untold=True, untold_revision=untold_revision)
            self.registry.tell(self._kept[served.name], of_weights=of_weights, urgent=urgent)

    def _is_told(self, told: KeptState | None) -> None:
        """The registry has this state. None: it has the journal's head, or one that the journal lacks."""
        if told is None:
            self._tell_hold()
            return
        name = told.model.name
        kept = self._kept.get(name)
        if kept is not None and kept.untold and kept.model.revision == told.model.revision:
            self._kept[name] = replace(kept, untold=False, untold_revision=0)
            self._keep_states(rest_s=TOLD_REST_S)

    def _tell_hold(self) -> None:
        hold = self.keeper.hold
        self.alert("plans", f"no plan goes further, since {hold}" if hold else None)

    def _on_disk(self, entry: Mapping[str, Any]) -> None:
        self._tell_hold()
        self.registry.anchor(str(entry.get("model")), of_weights=is_of_weights(entry))

    def _found_again(self, lines: tuple[Line, ...]) -> None:
        """The journal could not be read at the start, or was cut off, and is whole now: what it has is known again."""
        before = [line.entry for line in lines]
        known = set(map(identity, before))
        self._entries[:] = [*before, *(entry for entry in self._entries if identity(entry) not in known)]
        del self._entries[:-LINES_KEPT]
        self.requests_done = requests_of([*(line.entry for line in lines), *self._entries])
        self.on_requests_found(self.requests_done)
        self._tell_hold()
        self.registry.anchor_everywhere()

    def _keep_states(self, rest_s: float = 0.0) -> None:
        self.states_box.put("states", tuple(self._kept[name] for name in self.models), rest_s=rest_s)

    # --- Loading -----------------------------------------------------------------------------------------------------
    def _unload(self, served: Served, artifact: Artifact) -> None:
        self.loads.cancel(served.name, artifact.digest)
        self.seating.give_back(served.index, artifact.digest)

    def _load_what_is_needed(self, name: str, served: Served) -> None:
        """After a start: what no seat has, and what was being loaded."""
        model = self.state(name)
        seated = {digest for digest in model.needed if self.seating.find(served.index, digest) is not None}
        started = {artifact.digest for artifact in (model.stable, model.last_safe) if artifact is not None}
        if model.canary is not None and model.canary.started:
            started.add(model.canary.artifact.digest)
        if model.shadow is not None and model.shadow_started:
            started.add(model.shadow.digest)
        self._kept[name] = replace(self._kept[name], model=replace(model, ready=frozenset(seated & started)))
        for digest, artifact in model.needed.items():
            # What is banned has ended a worker: the next look takes it home.
            if digest not in seated & started and not self.seating.banned(served.index, digest):
                self.loads.begin(served.index, name, artifact)
        for seat in self.seating.seats():
            if seat.model == served.index and seat.digest not in model.needed:
                self.seating.give_back(served.index, seat.digest)

    # --- Beginning ---------------------------------------------------------------------------------------------------
    def _begin(self, kept: Mapping[str, KeptState], lines: Sequence[Line]) -> None:
        now_ns, at_utc = self.now()
        self.keeper.recover((), lines)
        routes, texts, entries = {}, [], []
        for pin, served in zip(self._pins, self.models.values(), strict=True):
            beginning = begin(pin, kept.get(pin.name), lines, now_ns, at_utc)
            model = beginning.kept.model
            if model.stable is not None:
                self.seating.take(served.index, model.stable.version, model.stable.digest)
            self._kept[pin.name] = beginning.kept
            routes[served.index] = self._route(served, model)
            document = decision_document(served.index, model, beginning.kept.released)
            texts.append(decision_text(Decision(beginning.entry, document)))
            entries.append(beginning.entry)
        if not routes:
            return
        self.publisher.publish(routes, texts, urgent=True)
        for entry in entries:
            self.last_entries[str(entry["model"])] = entry
            self.events.decided(entry)
            self._write(entry)
        for served in self.models.values():
            if self._kept[served.name].untold:
                self._tell_registry(served)

    def _follow(self, kept: Mapping[str, KeptState], lines: Sequence[Line]) -> None:
        texts = [text for _, text in self.publisher.decisions.read()]
        names = list(self.models)
        followed = follow(names, self.publisher.routes, self.seating.everything(), texts, kept)
        for entry in self.keeper.recover(followed.decisions, lines):
            self._note_entry(entry)
            if BREAK_GLASS in entry.get("evidence", {}):
                self._tell_decided(entry)  # all others were told as they were taken
        for decision in followed.decisions:
            self.last_entries[str(decision.entry["model"])] = decision.entry
        for one, served in zip(followed.kept, self.models.values(), strict=True):
            self._kept[served.name] = one
            canary = one.model.canary.artifact.digest if one.model.canary is not None else None
            self.book.begin(served.index, served.name, canary, self.route(served.name))
            if canary is not None and self.route(served.name).canary is not None:
                self.book.first_events[served.name] = canary
            if one.untold or self.last_entries.get(served.name, {}).get("kind") != "started":
                self._tell_registry(served)
        self.events.append("control_restarted", "the control process was started again and found its decisions")


def _signed(entry: Mapping[str, Any], request: str) -> Mapping[str, Any]:
    return {**entry, "request": request} if request and entry.get("request_id") else entry
