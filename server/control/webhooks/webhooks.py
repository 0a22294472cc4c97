"""Webhooks: events told to other programs over HTTP, signed, tried again, and bounded.

Used by the control process. `post` is all that those who have something to tell need. Always: `post` never waits and
never fails; what waits is kept in the state folder, and goes on after a restart; one receiver's trouble is its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from server.control.event_log import utc_text
from server.control.outbox import Outbox
from server.control.webhooks.clock import Clock
from server.control.webhooks.delivery import Delivery, document, new_id
from server.control.webhooks.kept import Kept, KeptDeliveries
from server.control.webhooks.receiver import Receiver, WebhookView
from server.settings import WebhookSettings
from server.settings_values import WebhookKind

log = logging.getLogger("roost.control")

ALERT_PREFIX: Final = "webhook "  # of the keys of this room's own alerts
STOP_WAIT_S: Final = 1.0
KEEP_WAIT_S: Final = 0.5  # with the one above within the parent's patience, CONTROL_STOP_S


class Webhooks:
    """Call `start`, keep `run` running, call `stop`. state: None keeps nothing over a restart.

    alert: (key, text): what needs somebody; None: it is over. environment: where secrets' variables are looked up.
    """

    def __init__(
        self,
        settings: Sequence[WebhookSettings],
        state: Path | None,
        alert: Callable[[str, str | None], None],
        *,
        clock: Clock | None = None,
        random_: random.Random | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._clock = clock or Clock()
        self._random = random_ or random.Random()
        self._kept = KeptDeliveries(state)
        self._box: Outbox[Kept] = Outbox("webhooks", self._kept.write, partial(alert, f"{ALERT_PREFIX}events"))
        self._receivers = tuple(
            Receiver(
                one, self._keep, partial(alert, f"{ALERT_PREFIX}{one.name}"), self._clock, self._random, environment
            )
            for one in settings
        )

    def start(self) -> None:
        """Takes up what waited before a restart."""
        kept = self._kept.read()
        for receiver in self._receivers:
            for delivery in kept.get(receiver.name, ()):
                receiver.restore(delivery)
        unknown = kept.keys() - {receiver.name for receiver in self._receivers}
        if unknown:
            fields = {"webhooks": sorted(unknown), "events": sum(len(kept[name]) for name in unknown)}
            log.warning("events waited for webhooks that there are no more, and are dropped", extra={"fields": fields})
            self._keep()

    def post(
        self,
        kind: WebhookKind,
        model: str,
        text: str,
        detail: Mapping[str, Any] | None = None,
        at_utc: str | None = None,
    ) -> None:
        """To every webhook that takes this kind. model: empty where it is the whole server's. at_utc: now if None."""
        takers = [receiver for receiver in self._receivers if kind in receiver.settings.events]
        at_s = self._clock.utc_s()
        for receiver in takers:
            id_ = new_id(self._random)
            body = document(id_, at_utc or utc_text(at_s), kind, model, text, detail or {})
            receiver.put(Delivery(id_, kind, body, at_s))

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._box.run())
            for receiver in self._receivers:
                group.create_task(receiver.run())

    async def stop(self) -> None:
        """Gives what is due a moment to go, and what waits a moment to be written. `run` still runs meanwhile."""
        try:
            async with asyncio.timeout(STOP_WAIT_S):
                for receiver in self._receivers:
                    await receiver.at_rest.wait()
        except TimeoutError:
            log.info("events wait for webhooks", extra={"fields": {"events": self._waiting}})
        await self._box.drained(KEEP_WAIT_S)

    def views(self) -> tuple[WebhookView, ...]:
        """Each webhook as of now, in the order of the settings."""
        return tuple(receiver.view() for receiver in self._receivers)

    @property
    def _waiting(self) -> int:
        return sum(len(receiver.deliveries) for receiver in self._receivers)

    def _keep(self) -> None:
        self._box.put("webhooks", {receiver.name: receiver.deliveries for receiver in self._receivers})
