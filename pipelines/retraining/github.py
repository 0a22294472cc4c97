"""GitHub's `repository_dispatch`: how a workflow is started from outside.

Used by `receiver.py`, in a thread. Always: the token goes to the one address that was named, whatever is answered;
it is read at each call, and stands in no error. Source: GitHub's REST API, "Create a repository dispatch event".
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pipelines.refusal import Refusal

API: Final = "https://api.github.com"
API_VERSION: Final = "2022-11-28"
REPOSITORY: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
TOKEN: Final = re.compile(r"[!-~]{8,1024}")
TIMEOUT_S: Final = 4.0
"""For each wait for the other side; a server waits 10 s for us, unless its settings say otherwise."""
TOKEN_BYTES_MAX: Final = 4096
ANSWER_BYTES_MAX: Final = 2000
AGAIN_S: Final = 60
AGAIN_S_MAX: Final = 3600
DONE_STATUS: Final = 204


class NotTaken(Exception):
    """GitHub did not take it. again_s: after how long it may be tried again; None: only once somebody mends it."""

    def __init__(self, words: str, again_s: int | None) -> None:
        super().__init__(words)
        self.again_s = again_s


class _NoRedirects(HTTPRedirectHandler):
    """A repository that has moved is answered with its new address, which somebody is to look at first."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class GitHub:
    """api: `https://` and a host. repository: OWNER/NAME. token_file: of a token that may write its contents."""

    api: str
    repository: str
    token_file: Path

    def check(self) -> None:
        """Raises Refusal where it could never work, before anybody waits for it."""
        parts = urlsplit(self.api)
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
            raise Refusal(
                "--api", expected="https:// and a host", got=repr(self.api[:80]),
                hint="A token is sent there: in the clear only to this machine.",
            )  # fmt: skip
        if not REPOSITORY.fullmatch(self.repository):
            raise Refusal("--repository", expected="OWNER/NAME", got=repr(self.repository[:80]), hint="--help.")
        self._token()

    def dispatch(self, event_type: str, payload: Mapping[str, str]) -> None:
        """Starts the workflows that listen for `event_type`. Blocks; raises NotTaken."""
        try:
            request = Request(
                f"{self.api.rstrip('/')}/repos/{self.repository}/dispatches",
                json.dumps({"event_type": event_type, "client_payload": dict(payload)}).encode(),
                {
                    "authorization": f"Bearer {self._token()}",
                    "accept": "application/vnd.github+json",
                    "content-type": "application/json",
                    "user-agent": "roost-retraining",
                    "x-github-api-version": API_VERSION,
                },
            )
            with build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as answer:
                status = answer.status
        except HTTPError as refused:
            raise _refused(refused) from None
        except Refusal as refusal:
            raise NotTaken(str(refusal), None) from refusal
        except (OSError, HTTPException, ValueError) as error:  # no connection, not in time, no certificate, no HTTP
            raise NotTaken(f"GitHub does not answer: {' '.join(str(error).split())[:200]}", AGAIN_S) from error
        if status != DONE_STATUS:
            raise NotTaken(f"GitHub answered {status}, where {DONE_STATUS} was expected. See --api.", None)

    def _token(self) -> str:
        """Raises Refusal."""
        try:
            with self.token_file.open("rb") as file:
                token = file.read(TOKEN_BYTES_MAX).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Refusal(
                "--token-file", expected="a file that can be read", got=f"{self.token_file}: {type(error).__name__}",
                hint="Put a token of GitHub's there.",
            ) from error  # fmt: skip
        if not TOKEN.fullmatch(token):
            raise Refusal(
                "--token-file", expected="one token of printable ASCII", got="something else", hint="Write it anew."
            )
        return token


def _refused(error: HTTPError) -> NotTaken:
    """GitHub's own words, and whether waiting helps."""
    with error:
        try:
            words = " ".join(error.read(ANSWER_BYTES_MAX).decode("utf-8", "replace").split())
        except OSError:
            words = ""
    told = f"GitHub answered {error.code}: {words[:300] or error.reason}"
    asked = str(error.headers.get("retry-after", ""))
    limited = error.code == 429 or (error.code == 403 and (asked or error.headers.get("x-ratelimit-remaining") == "0"))
    if limited or error.code >= 500:
        again_s = int(asked) if re.fullmatch("[0-9]{1,6}", asked) else AGAIN_S
        return NotTaken(told, max(1, min(again_s, AGAIN_S_MAX)))
    hint = "Its token needs the permission to write the contents of --repository, which has to be its name of today."
    return NotTaken(f"{told}. {hint}", None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
