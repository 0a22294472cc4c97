"""A webhook's address: what may stand in one, and how much of it may be shown.

Used by the settings. Always: no error shows the address itself, since services put their secrets into its path.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

ALLOWED: Final = "`http://` or `https://` and a host, in ASCII, without user, password or fragment"
SCHEME_SHOWN_MAX: Final = 20


def check_url(url: str) -> str:
    """The address. Raises ValueError."""
    try:
        parts = urlsplit(url)
        wrong = _wrong(url, parts, parts.port)
    except ValueError:
        wrong = "one that can't be read"
    if wrong:
        raise ValueError(f"expected {ALLOWED}, got {wrong}")
    return url


def origin_of(url: str) -> str:
    """As much as may be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _wrong(url: str, parts: SplitResult, port: int | None) -> str:
    """Empty where nothing is."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "a character that it can't hold. Write it percent-encoded, and a host's name in punycode"
    if parts.scheme not in ("http", "https"):
        return f"the scheme {parts.scheme[:SCHEME_SHOWN_MAX]!r}"
    if "@" in parts.netloc:
        return "a user or a password. Deliveries are signed: that is how a receiver knows them"
    if not parts.hostname:
        return "no host"
    if port == 0:
        return "port 0"
    return "a fragment" if "#" in url else ""
