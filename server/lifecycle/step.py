"""The step: an event comes in, the next state and what to do about it go out. Pure: time and chance arrive as values.

Used by the control process, one call an event; by the simulation and the tests in the same way.
Always: nothing that is quarantined or not loaded is given traffic; a decision raises the revision by one and is told by
one entry; `last_safe` leaves its place only for the stable's, for a later one, or into quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from server.lifecycle import events, facts, requests
from server.lifecycle.decisions import Outcome, served
from server.lifecycle.events import Event
from server.lifecycle.state import ModelState

__all__ = ["HANDLERS", "Outcome", "served", "step"]


def step(model: ModelState, event: Event) -> Outcome:
    """The next state, and the actions in their order. Raises Refused for a request that can't be done."""
    handle = HANDLERS.get(type(event))
    assert handle is not None, type(event)
    return handle(model, event)


HANDLERS: Final[Mapping[type[Event], Callable[[ModelState, Any], Outcome]]] = {
    events.DeployCanary: requests.deploy,
    events.SetWeight: requests.set_weight,
    events.SetShadow: requests.set_shadow,
    events.Promote: requests.promote,
    events.Rollback: requests.rollback,
    events.Quarantine: requests.quarantine,
    events.Release: requests.release,
    events.Freeze: requests.freeze,
    events.Unfreeze: requests.unfreeze,
    events.Pause: requests.pause,
    events.Resume: requests.resume,
    events.Known: facts.known,
    events.Loaded: facts.loaded,
    events.LoadFailed: facts.load_failed,
    events.Judged: facts.judged,
    events.Tick: facts.tick,
    events.Incident: facts.incident,
}
