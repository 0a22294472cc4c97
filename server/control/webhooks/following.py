"""From the log of events to webhooks: which event is told to other programs, and as what kind.

A task of the control process. Always: it reads the log as any watcher does, so that whoever appends to it, a decision
above all, waits for nothing; no alert about a webhook is posted to a webhook, or one that fails would feed itself; and
none of drift, which has events of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from server.control.drift.responding import ALERT_PREFIX as DRIFT_PREFIX
from server.control.event_log import EventLog, LoggedEvent
from server.control.webhooks.webhooks import ALERT_PREFIX, Webhooks
from server.settings_values import WebhookKind

DECISIONS: Final[Mapping[str, WebhookKind]] = {
    "went_home": "rollback",
    "rolled_back": "rollback",
    "promoted": "promote",
    "quarantined": "quarantine",
}
"""Kinds of decisions that are told; see docs/reference/events.md."""


def kind_of(event: LoggedEvent) -> WebhookKind | None:
    """None: it is not told."""
    match event.kind:
        case "decision":
            return DECISIONS.get(str(event.detail.get("kind")))
        case "alert":
            return None if event.text.startswith((ALERT_PREFIX, DRIFT_PREFIX)) else "alert"
        case "incident":
            return "incident"
        case "drift":
            return "drift"
    return None


class Following:
    """Made before the driver starts, so that nothing of the start is missed. Keep `run` running."""

    def __init__(self, events: EventLog, webhooks: Webhooks) -> None:
        self._events = events
        self._webhooks = webhooks
        self._seen = events.last_sequence

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._events.after(self._seen)
            self.catch_up()

    def catch_up(self) -> None:
        """Passes on what has happened up to now."""
        for event in self._events.kept_after(self._seen):
            self._seen = event.sequence
            kind = kind_of(event)
            if kind is not None:
                self._webhooks.post(kind, event.model, event.text, event.detail, event.at_utc)
