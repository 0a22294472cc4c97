"""MLflow's tracking URIs: what one is, the file of an embedded database, and how one is shown.

Used by `opening.py`, the MLflow registry and the command line. Imports nothing of MLflow.
Always: what is shown or logged of an address has no password in it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

# Up to the last @ before a query, since SQLAlchemy takes a password with a slash in it, too; but a port is none.
_PASSWORD: Final = re.compile(r"(://[^/@:\s?#]*:)(?!\d+/)[^\s?#]*@")
_TOKEN: Final = re.compile(r"(https?://)[^/@:\s?#]+@")
_ENDS: Final = {
    "Connection refused": "connection refused",
    "Name or service not known": "no host of that name",
    "Temporary failure in name resolution": "no host of that name",
    "timed out": "no answer in time",
}
_QUERY: Final = re.compile(r"([?&](?:password|passwd|pwd|sslpassword|token|access_token|sig)=)[^&#\s]+", re.IGNORECASE)


def is_tracking_uri(location: str) -> bool:
    """True for what MLflow opens: sqlite:///mlflow.db, http://host:5000."""
    return "://" in location


def database_file(uri: str) -> Path | None:
    """The file of an embedded database."""
    scheme, _, path = uri.partition(":///")
    return Path(path) if scheme.startswith("sqlite") and path else None


def failure_words(error: BaseException, characters_max: int = 300) -> str:
    """What went wrong on the way to a tracking server, in one line: of a library's whole chain what ended it."""
    told = without_passwords(" ".join(str(error).split()))
    for sign, words in _ENDS.items():
        if sign in told:
            return words
    return told[:characters_max] or type(error).__name__


def without_passwords(text: str) -> str:
    """A URI, or a text that may have one in it, as it may stand in a log: MLflow's own errors name whole addresses."""
    return _QUERY.sub(r"\1***", _TOKEN.sub(r"\1***@", _PASSWORD.sub(r"\1***@", text)))
