"""What a call says about who shall answer it, and what was decided.

Read from metadata by the grpcio listener, from the slot by the fast lane, whose callbacks have read the same metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from native.http2.refusals import NO_TRAFFIC, REFUSALS
from native.route.layout import PIN_CANARY, PIN_NONE, PIN_STABLE, PIN_UNKNOWN
from native.route.split import key_hash
from server.worker.status import StatusError

KEY_HEADER = "roost-routing-key"
PIN_HEADER = "roost-variant"
RETRY_HEADER = "grpc-previous-rpc-attempts"
PINS = {"stable": PIN_STABLE, "canary": PIN_CANARY}


@dataclass(frozen=True, slots=True)
class Wish:
    """keyed: 1 where there is a routing key, whose hash is `hashed`. pin: PIN_*. evidence: 0 for a retry."""

    keyed: int = 0
    hashed: int = 0
    pin: int = PIN_NONE
    evidence: int = 1

    def with_key(self, key: str) -> Wish:
        """The field of the request wins over the metadata."""
        return replace(self, keyed=1, hashed=hash_of(key.encode())) if key else self

    def once_more(self) -> Wish:
        """Of a call that waited for a version which lost its traffic: who answers it now is no evidence."""
        return replace(self, evidence=0)


@dataclass(frozen=True, slots=True)
class Routed:
    """Where a call goes. route: the model's index; weight_epoch: of the weights; evidence: 1 if they alone decided."""

    seat: int
    route: int
    weight_epoch: int
    evidence: int
    keyed: int
    hashed: int


class NoTraffic(StatusError):
    """A call came to nothing: who was to answer it went home, or was replaced, meanwhile. In the kernels' words."""

    def __init__(self) -> None:
        super().__init__(REFUSALS[NO_TRAFFIC].status, REFUSALS[NO_TRAFFIC].message)


ANYWHERE = Wish()


def hash_of(key: bytes) -> int:
    """See `native.route.split.key_hash`."""
    return int(key_hash(np.frombuffer(key + b"\0", dtype=np.uint8).copy(), 0, len(key)))


def wish_of(metadata: Iterable[tuple[str, str | bytes]]) -> Wish:
    """From a call's metadata, in the order in which it came."""
    keyed, hashed, pin, evidence = 0, 0, PIN_NONE, 1
    for name, value in metadata:
        content = value.encode() if isinstance(value, str) else value
        if name == KEY_HEADER:
            keyed, hashed = int(bool(content)), hash_of(content)
        elif name == PIN_HEADER:
            pin = PINS.get(content.decode(errors="replace"), PIN_UNKNOWN)
        elif name == RETRY_HEADER:
            evidence = int(content == b"0")
    return Wish(keyed, hashed, pin, evidence)
