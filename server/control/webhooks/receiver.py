"""A receiver: one webhook's queue, its attempts one after the other, and what became of them.

A task of the control process. Always: whatever a receiver does or does not answer, its events wait, go or are dropped
by the rules of `waiting`, and nobody else waits for it; a secret is never logged, and of an address its host.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import h11

from server.control.event_log import utc_text
from server.control.slow_calls import SlowCalls
from server.control.webhooks.clock import Clock
from server.control.webhooks.delivery import Delivery
from server.control.webhooks.http_post import Answer, look_up, post, target_of, tls_context
from server.control.webhooks.signing import read_key, signed_headers
from server.control.webhooks.waiting import Drop, Waiting
from server.settings import WebhookSettings
from server.webhook_url import origin_of

log = logging.getLogger("roost.control")

FAILURES_BEFORE_ALERT: Final = 3
REASON_MAX: Final = 200
GONE_STATUS: Final = 410
ASKING_STATUSES: Final = frozenset({429, 503})  # whose Retry-After is meant for whoever comes too often
IS_OFF: Final = (
    "its receiver answered 410 Gone: nothing is sent to it any more. Remove the webhook, or mend its url, and start "
    "the server again"
)


@dataclass(frozen=True)
class WebhookView:
    """A webhook as of now. Counts are since control started.

    to: its address as far as it may be shown. last_status: of the last attempt, a number or why there is none; empty
    before the first, as is last_at_utc. failures_in_a_row: attempts since one succeeded. dropped: by `Drop`'s values.
    """

    name: str
    to: str
    on: bool
    waiting: int
    delivered: int
    failures: int
    failures_in_a_row: int
    dropped: Mapping[str, int]
    last_status: str
    last_at_utc: str


@dataclass(frozen=True)
class _Prepared:
    """What an attempt needs and only a thread may wait for."""

    key: bytes
    addresses: tuple[str, ...]
    tls: ssl.SSLContext | None


class Receiver:
    """Keep `run` running. changed: called when what waits is another. alert: what needs somebody; None: it is over."""

    def __init__(
        self,
        settings: WebhookSettings,
        changed: Callable[[], None],
        alert: Callable[[str | None], None],
        clock: Clock,
        random_: random.Random,
        environment: Mapping[str, str],
    ) -> None:
        self.settings = settings
        self.at_rest = asyncio.Event()  # nothing is due now
        self._changed = changed
        self._alert = alert
        self._clock = clock
        self._environment = environment
        self._target = target_of(settings.url)
        self._calls = SlowCalls(f"roost-webhook-{settings.name}")
        self._preparing: asyncio.Future[_Prepared] | None = None
        self._tls: ssl.SSLContext | None = None
        self._waiting = Waiting(settings.queue_max, settings.attempts_max, settings.age_max_s, random_)
        self._woken = asyncio.Event()
        self._on = True
        self._delivered = self._failures = 0
        self._dropped: Counter[Drop] = Counter()
        self._drops_said: set[Drop] = set()  # since it last took one
        self._last_status = self._last_at_utc = ""

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """What waits, oldest first."""
        return self._waiting.deliveries

    def view(self) -> WebhookView:
        return WebhookView(
            name=self.name,
            to=origin_of(self.settings.url),
            on=self._on,
            waiting=len(self._waiting),
            delivered=self._delivered,
            failures=self._failures,
            failures_in_a_row=self._waiting.failures,
            dropped={reason.value: self._dropped[reason] for reason in Drop},
            last_status=self._last_status,
            last_at_utc=self._last_at_utc,
        )

    def put(self, delivery: Delivery) -> None:
        """To be sent as soon as may be. Never waits."""
        if self._on:
            self._take_in(self._waiting.put(delivery, self._clock.now_s()))
        else:
            self._drop(Drop.GONE)

    def restore(self, delivery: Delivery) -> None:
        """One that waited before a restart."""
        age_s = self._clock.utc_s() - delivery.at_s
        self._take_in(self._waiting.restore(delivery, self._clock.now_s(), age_s))

    async def run(self) -> None:
        """Sends what comes, for ever."""
        while True:
            self._woken.clear()
            now_s = self._clock.now_s()
            for _ in self._waiting.expired(now_s):
                self._drop(Drop.AGE)
                self._changed()
            found = self._waiting.next(now_s)
            if found is None or found[1] > 0:
                self.at_rest.set()
                await self._clock.rest(self._woken, None if found is None else found[1])
                continue
            self.at_rest.clear()
            await self._attempt(found[0])

    def _take_in(self, made_room: Iterable[Delivery]) -> None:
        for _ in made_room:
            self._drop(Drop.QUEUE_FULL)
        self.at_rest.clear()
        self._woken.set()
        self._changed()

    # --- An attempt --------------------------------------------------------------------------------------------------
    async def _attempt(self, delivery: Delivery) -> None:
        try:
            self._answered(delivery, await self._send(delivery))
        except Exception as error:  # noqa: BLE001  # whatever a stranger's server brings about: shown, and tried again
            self._fails(delivery, self._reason(error))
        self._changed()

    async def _send(self, delivery: Delivery) -> Answer:
        body = delivery.body.encode()
        until_s = asyncio.get_running_loop().time() + self.settings.timeout_s
        async with asyncio.timeout_at(until_s):
            prepared = await self._prepared()
        headers = signed_headers(prepared.key, delivery.id, int(self._clock.utc_s()), body)
        return await post(self._target, prepared.addresses, headers, body, until_s, prepared.tls)

    async def _prepared(self) -> _Prepared:
        """One look at a time: an attempt that came too early joins the one that is still under way."""
        if self._preparing is None:
            self._preparing = asyncio.ensure_future(self._calls.call(self._prepare))
            self._preparing.add_done_callback(self._is_prepared)
        return await asyncio.shield(self._preparing)

    def _is_prepared(self, prepared: asyncio.Future[_Prepared]) -> None:
        self._preparing = None
        if not prepared.cancelled():
            prepared.exception()  # whoever waited was told; where nobody did, the next attempt finds out

    def _prepare(self) -> _Prepared:
        """In the thread."""
        if self._target.scheme == "https" and self._tls is None:
            self._tls = tls_context()
        return _Prepared(read_key(self.settings, self._environment), look_up(self._target), self._tls)

    def _answered(self, delivery: Delivery, answer: Answer) -> None:
        if 200 <= answer.status < 300:
            self._succeeds(delivery, answer)
        elif answer.status == GONE_STATUS:
            self._goes_off(answer)
        else:
            redirects = 300 <= answer.status < 400
            status = f"{answer.status}, and redirects are not followed" if redirects else str(answer.status)
            asked_s = self._asked_wait_s(answer) if answer.status in ASKING_STATUSES else None
            self._fails(delivery, status, asked_s)

    def _succeeds(self, delivery: Delivery, answer: Answer) -> None:
        self._note(str(answer.status))
        self._delivered += 1
        was_in_trouble = self._waiting.failures >= FAILURES_BEFORE_ALERT or self._drops_said
        self._waiting.taken(delivery.id)
        self._drops_said.clear()
        if was_in_trouble:
            log.info("a webhook takes events again", extra={"fields": self._fields()})
        self._alert(None)

    def _goes_off(self, answer: Answer) -> None:
        self._note(str(answer.status))
        self._failures += 1
        self._on = False
        for _ in range(self._waiting.clear()):
            self._drop(Drop.GONE)
        log.error("a webhook is off: %s", IS_OFF, extra={"fields": self._fields()})
        self._alert(IS_OFF)

    def _fails(self, delivery: Delivery, status: str, asked_s: float | None = None) -> None:
        self._note(status)
        self._failures += 1
        dropped = self._waiting.failed(delivery.id, self._clock.now_s(), asked_s)
        if dropped is not None:
            self._drop(dropped)
        if self._waiting.failures == FAILURES_BEFORE_ALERT:
            log.warning("a webhook does not take events: they are tried again", extra={"fields": self._fields()})
        if self._waiting.failures >= FAILURES_BEFORE_ALERT:
            self._alert(f"its receiver takes nothing: {status}")

    def _note(self, status: str) -> None:
        self._last_status, self._last_at_utc = status, utc_text(self._clock.utc_s())

    def _drop(self, reason: Drop) -> None:
        """Counted each time, and said the first time."""
        self._dropped[reason] += 1
        if reason not in self._drops_said:
            self._drops_said.add(reason)
            fields = {**self._fields(), "why": reason.value}
            log.warning("an event for a webhook is dropped: see roost_webhook_dropped_total", extra={"fields": fields})

    def _fields(self) -> Mapping[str, object]:
        return {
            "webhook": self.name, "to": origin_of(self.settings.url), "last": self._last_status,
            "waiting": len(self._waiting),
        }  # fmt: skip

    def _reason(self, error: Exception) -> str:
        match error:
            case TimeoutError():
                return f"no answer within {self.settings.timeout_s:g} s"
            case ssl.SSLCertVerificationError():
                return f"its certificate is not to be trusted: {error.verify_message}"
            case h11.RemoteProtocolError():
                return "an answer that is not HTTP"
        return " ".join(f"{error}".split())[:REASON_MAX] or type(error).__name__

    def _asked_wait_s(self, answer: Answer) -> float | None:
        """Retry-After, which is seconds or a date. None where it is neither."""
        text = answer.retry_after.strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            moment = parsedate_to_datetime(text)
            zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
            return max(zoned.timestamp() - self._clock.utc_s(), 0.0)
        except (ValueError, OverflowError):  # a date, or its zone, beyond what there is
            return None
