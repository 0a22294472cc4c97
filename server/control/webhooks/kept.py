"""What waits for webhooks, over restarts: `webhooks.json` in the state folder.

Blocks: it is written in a thread. Always: the file is replaced whole; one that is missing or damaged is as if nothing
had waited, and is said to be so. It holds events, no address and no secret.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from registry_client.placing import place_file
from server.control.webhooks.delivery import IMPORTANCE, Delivery

log = logging.getLogger("roost.control")

FORMAT: Final = 1
WEBHOOKS: Final = "webhooks.json"

Kept = Mapping[str, tuple[Delivery, ...]]
"""By webhook's name, oldest first."""


class KeptDeliveries:
    """folder: None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def write(self, kept: Kept) -> None:
        """Raises OSError."""
        if self._folder is None:
            return
        waiting = {name: [_written(one) for one in deliveries] for name, deliveries in kept.items() if deliveries}
        document = {"format": FORMAT, "webhooks": waiting}
        self._folder.mkdir(parents=True, exist_ok=True)
        place_file(self._folder / WEBHOOKS, json.dumps(document).encode() + b"\n")

    def read(self) -> Kept:
        if self._folder is None:
            return {}
        try:
            document = json.loads((self._folder / WEBHOOKS).read_bytes())
            if document["format"] != FORMAT:
                raise ValueError(f"format: expected {FORMAT}, got {document['format']!r:.40}")
            return {name: tuple(map(_read, waiting)) for name, waiting in document["webhooks"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged, and is left out", WEBHOOKS, extra={"fields": {"reason": repr(error)}})
            return {}


def _written(delivery: Delivery) -> Mapping[str, Any]:
    return {
        "id": delivery.id,
        "kind": delivery.kind,
        "at_s": delivery.at_s,
        "attempts": delivery.attempts,
        "body": delivery.body,
    }


def _read(document: Mapping[str, Any]) -> Delivery:
    kind = document["kind"]
    if kind not in IMPORTANCE:
        raise ValueError(f"kind: expected one of {', '.join(IMPORTANCE)}, got {kind!r:.40}")
    return Delivery(
        id=str(document["id"]),
        kind=kind,
        body=str(document["body"]),
        at_s=float(document["at_s"]),
        attempts=int(document["attempts"]),
    )
