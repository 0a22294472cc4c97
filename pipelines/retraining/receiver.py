"""The way in: POST /drift, as a Roost server's webhook posts it. Starlette, served by `__main__.py`.

Always: 2xx says that a training was asked for, or that none is wanted; for all else the server tries again, and after
three times tells its operators. One line of the log for each delivery.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipelines.refusal import Refusal
from pipelines.retraining.admission import Admission, Verdict
from pipelines.retraining.delivery import BODY_BYTES_MAX, Alert, NoEvent, Unsigned, key_of, read_alert, verified_id
from pipelines.retraining.github import GitHub, NotTaken

log = logging.getLogger("roost.retraining")

PATH: Final = "/drift"
HEALTH_PATH: Final = "/health"
EVENT_TYPE: Final = "roost-drift"
"""What `.github/workflows/retrain-on-drift.yml` listens for."""
BODY_S_MAX: Final = 10.0
BUSY_S: Final = 5
SECRET_BYTES_MAX: Final = 4096
ANSWERS: Final = {
    Verdict.OTHER: (200, "nothing that a training answers"),
    Verdict.DOUBLE: (200, "a training was asked for by this event already"),
    Verdict.QUIET: (200, "a training was asked for lately"),
    Verdict.BUSY: (503, "a training is being asked for right now"),
}


class TooLong(Exception):
    """A body of more than BODY_BYTES_MAX, or one that takes longer than BODY_S_MAX."""


@dataclass(frozen=True)
class Receiver:
    """secret_files: of the webhook; several while it is changed. utc_s: the wall's clock; now_s: a monotonic one."""

    github: GitHub
    admission: Admission
    secret_files: Sequence[Path]
    utc_s: Callable[[], float] = field(default=time.time)
    now_s: Callable[[], float] = field(default=time.monotonic)

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route(PATH, self.take, methods=["POST"]),
                Route(HEALTH_PATH, lambda request: PlainTextResponse("ok\n"), methods=["GET"]),
            ]
        )

    def keys(self) -> list[bytes]:
        """Read at each delivery, so that a secret that was replaced is in force at once. Blocks; raises Refusal."""
        return [key_of(_read_secret(path)) for path in self.secret_files]

    async def take(self, request: Request) -> Response:
        """One delivery."""
        try:
            body = await _body(request)
            keys = await asyncio.to_thread(self.keys)
            alert = read_alert(verified_id(keys, request.headers, body, self.utc_s()), body)
        except TooLong as long:
            return _answer(413, str(long))
        except Unsigned as unsigned:
            return _answer(401, str(unsigned))
        except NoEvent as none:
            return _answer(400, str(none))
        except ClientDisconnect:
            return _answer(400, "the sender went away")
        except Refusal as refusal:
            log.error("%s", refusal)
            return _answer(503, "this program's secret can't be read: its own log says why")
        return await self._admitted(alert)

    async def _admitted(self, alert: Alert) -> Response:
        verdict = self.admission.admit(alert, self.now_s())
        if verdict is not Verdict.ASK:
            status, words = ANSWERS[verdict]
            return _answer(status, words, alert, BUSY_S if verdict is Verdict.BUSY else None)
        asked = False
        payload = {"model": alert.model, "id": alert.id, "at_utc": alert.at_utc, "text": alert.text}
        try:
            await asyncio.to_thread(self.github.dispatch, EVENT_TYPE, payload)
            asked = True
        except NotTaken as not_taken:
            log.error("%s", not_taken)
            status = 502 if not_taken.again_s is None else 503
            return _answer(status, "GitHub did not take it", alert, not_taken.again_s)
        finally:
            self.admission.settle(alert, self.now_s(), asked=asked)
        return _answer(202, "a training is asked for", alert)


def _answer(status: int, words: str, alert: Alert | None = None, again_s: int | None = None) -> Response:
    what = "a delivery" if alert is None else f"event {alert.id}, {alert.kind} of {alert.model or 'the server'}"
    log.log(logging.INFO if status < 400 else logging.WARNING, "%s: %d, %s", what, status, words)
    headers = {} if again_s is None else {"retry-after": str(again_s)}
    return PlainTextResponse(f"{words}\n", status, headers)


async def _body(request: Request) -> bytes:
    """Raises TooLong, and ClientDisconnect."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES_MAX:
                    raise TooLong(f"expected a body of at most {BODY_BYTES_MAX} bytes. A Roost server's are shorter.")
    except TimeoutError:
        raise TooLong(f"expected a body within {BODY_S_MAX:g} s. Post it at once.") from None
    return bytes(body)


def _read_secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SECRET_BYTES_MAX)
    except OSError as error:
        raise Refusal(
            "--secret-file", expected="a file that can be read", got=f"{path}: {error.strerror}",
            hint="Put there the secret that the server's webhook signs with.",
        ) from error  # fmt: skip
