"""Break-glass: going home with the control process dead, by whoever may open the server's memory on this machine.

Used by `roost rollback --local`. It takes the parent's plane, decides as the driver would, and leaves the decision
beside the route, from where the next control process takes it to journal and registry. Always: it acts only while no
control process lives (both hold the plane's lock), and only towards what every worker has loaded.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from native.plane.layout import Plane, PlaneMismatch
from native.plane.routing import MODELS_MAX
from server.control.decision_text import BREAK_GLASS, Decision, decision_text, read_decision, without_quarantine
from server.control.event_log import utc_text
from server.control.plane_lock import PlaneHeld, PlaneLock
from server.control.recovery import Followed, follow
from server.control.route_publisher import RoutePublisher
from server.control.routes_wanted import wanted_route
from server.control.seating import Seating, Standing
from server.control.state_document import decision_document
from server.lifecycle.actions import StoreRoute
from server.lifecycle.events import Rollback
from server.lifecycle.refusal import Refused
from server.lifecycle.state import ModelState
from server.lifecycle.step import step

PLANE_NAME: Final = "/memfd:roost-plane"
LOCK_WAIT_S: Final = 0.2
FOLLOW_WAIT_S: Final = 0.5
FOLLOW_POLL_S: Final = 0.005


WHERE_ITS_PID_IS: Final = "See `pid` of its ready file, or the file `lock` of its state folder"


class GlassHolds(RuntimeError):
    """Why nothing was done, in one line."""


@dataclass(frozen=True)
class WentHome:
    """version: what is stable now. following: whether every worker that serves was seen to follow."""

    model: str
    revision: int
    version: str
    following: bool


def roll_back_locally(parent_pid: int, model: str, operator: str, reason: str, proc: Path = Path("/proc")) -> WentHome:
    """parent_pid: `pid` of the ready file. model: may be "" where one is served. Raises GlassHolds."""
    path = _plane_of(parent_pid, proc)
    lock = PlaneLock(str(path))
    try:
        lock.take(LOCK_WAIT_S)
    except PlaneHeld:
        raise GlassHolds("the control process lives: use `roost rollback` without --local") from None
    except OSError as error:
        raise GlassHolds(
            f"process {parent_pid}: its memory can't be opened: {error.strerror}. Be the same user"
        ) from error
    try:
        plane = Plane.attach(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        return _roll_back(plane, model, operator, reason)
    except PlaneMismatch as error:
        raise GlassHolds(str(error)) from error
    finally:
        lock.release()


def _plane_of(parent_pid: int, proc: Path) -> Path:
    folder = proc / str(parent_pid) / "fd"
    try:
        for link in folder.iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed, so that it was not the plane
                if os.readlink(link).startswith(PLANE_NAME):
                    return link
    except OSError as error:
        raise GlassHolds(
            f"process {parent_pid}: expected the server's parent, got {error.strerror}. {WHERE_ITS_PID_IS}"
        ) from error
    raise GlassHolds(
        f"process {parent_pid}: expected the server's parent, got another process. {WHERE_ITS_PID_IS}"
    )


def _roll_back(plane: Plane, wanted: str, operator: str, reason: str) -> WentHome:
    publisher = RoutePublisher(plane, MODELS_MAX, pin_allowed=None)
    texts = [text for _, text in publisher.decisions.read()]
    indexes: dict[str, int] = {}
    for text in texts:
        try:
            noted = read_decision(text).state
        except ValueError as error:
            raise GlassHolds(f"{error}. Run the `roost` of the build that serves") from error
        indexes[str(noted["name"])] = int(noted["index"])
    name = wanted or (next(iter(indexes)) if len(indexes) == 1 else "")
    if name not in indexes:
        raise GlassHolds(f"model: expected one of {', '.join(indexes) or 'none'}, got {name!r}")
    index = indexes[name]
    seating = Seating(plane)
    followed = follow([name], [publisher.routes[index]], seating.everything(), texts, {})
    kept = followed.kept[0]
    state = _with_ready(kept.model, seating, index)
    now_ns, at_utc = time.monotonic_ns(), utc_text(time.time())
    event = Rollback(now_ns=now_ns, at_utc=at_utc, operator=operator, reason=reason, request_id="")
    home = state.last_safe
    if state.canary is None and home is not None and home.digest not in state.ready:
        raise GlassHolds(f"version {home.version}, the last safe one, is not loaded at every worker")
    try:
        after, actions = step(state, event)
    except Refused as refusal:
        raise GlassHolds(str(refusal)) from refusal
    entry = next(action.entry for action in actions if isinstance(action, StoreRoute))
    entry = {**entry, "evidence": {BREAK_GLASS: "decided with the control process dead"}}
    document = decision_document(index, after, kept.released)
    if not _quarantine_known(followed, state.revision):
        # The next control process has it.
        entry, document = without_quarantine(entry), {**document, "quarantine": None, "released": None}
    route = publisher.next_route(index, wanted_route(seating, index, after))
    epoch = publisher.publish({index: route}, [decision_text(Decision(entry, document))], urgent=True)
    until = time.monotonic() + FOLLOW_WAIT_S
    while not publisher.following(epoch) and time.monotonic() < until:
        time.sleep(FOLLOW_POLL_S)
    version = after.stable.version if after.stable is not None else "none"
    return WentHome(name, after.revision, version, publisher.following(epoch))


def _quarantine_known(followed: Followed, revision: int) -> bool:
    """True where the ring has the decision that stands, with all who are in quarantine and who were released."""
    if not followed.decisions or followed.decisions[-1].entry.get("revision") != revision:
        return False
    state = followed.decisions[-1].state
    return state.get("quarantine") is not None and state.get("released") is not None


def _with_ready(model: ModelState, seating: Seating, index: int) -> ModelState:
    ready = set()
    for digest in model.needed:
        seat = seating.find(index, digest)
        if seat is not None and seating.holding(seat).standing is Standing.READY:
            ready.add(digest)
    return replace(model, ready=frozenset(ready))
