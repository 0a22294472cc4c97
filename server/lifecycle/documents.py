"""The rollout document: what the registry is told of a model, for the fleet, and how two of them are merged.

Kept in a tag of the model. Always: `merge` is commutative, associative and idempotent, so that replicas agree whatever
reaches them in whichever order: quarantine only grows and beats everything, then the higher revision, then the lower
digest wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from server.lifecycle.journal import encode
from server.lifecycle.state import ModelState

TAG: Final = "roost.rollout"
FORMAT: Final = 1
TEXT_CHARACTERS_MAX: Final = 4096


class BadRollout(ValueError):
    """A tag that holds no rollout document: somebody else has written it."""


@dataclass(frozen=True)
class RolloutDocument:
    """id, salt, digest: of the canary, "" and 0 without one. quarantine: why, by digest; the oldest first, if known."""

    revision: int = 0
    stable: str = ""
    id: str = ""
    salt: int = 0
    digest: str = ""
    weight_ppm: int = 0
    step: int = 0
    quarantine: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """Canonical JSON. Where a tag would not hold it, reasons are shortened, then the oldest digests left out: they
        stay in the quarantine of every server that knows them, and one that is new to the fleet is not told of them."""
        for characters in (120, 40, 0):
            quarantine = {digest: why[:characters] for digest, why in self.quarantine.items()}
            text = self._text(quarantine)
            if len(text) <= TEXT_CHARACTERS_MAX:
                return text
        too_many = len(text) - TEXT_CHARACTERS_MAX
        while too_many > 0:
            oldest = next(iter(quarantine))
            too_many -= len(encode({oldest: quarantine.pop(oldest)}).decode()) - 1  # without its braces, and a comma
        return self._text(quarantine)

    def _text(self, quarantine: Mapping[str, str]) -> str:
        return encode({"format": FORMAT, **vars(self), "quarantine": quarantine}).decode()


def document_of(model: ModelState) -> RolloutDocument:
    """What a model's state tells the fleet."""
    canary = model.canary
    return RolloutDocument(
        revision=model.revision,
        stable=model.stable.digest if model.stable is not None else "",
        id=canary.id if canary is not None else "",
        salt=canary.salt if canary is not None else 0,
        digest=canary.artifact.digest if canary is not None else "",
        weight_ppm=model.weight_ppm,
        step=canary.step if canary is not None else 0,
        quarantine=dict(model.quarantine),
    )


def read_document(text: str) -> RolloutDocument:
    """Raises BadRollout."""
    try:
        content = json.loads(text)
    except ValueError:
        raise BadRollout("rollout: expected JSON, got something else. Remove the tag") from None
    kinds: dict[str, type] = {
        "revision": int, "stable": str, "id": str, "salt": int, "digest": str, "weight_ppm": int, "step": int,
        "quarantine": dict,
    }  # fmt: skip
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT or set(content) != set(kinds):
        raise BadRollout("rollout: expected this version's keys, got others. Remove the tag")
    for key, kind in kinds.items():
        if type(content[key]) is not kind:
            raise BadRollout(f"rollout.{key}: expected {kind.__name__}, got {content[key]!r:.40}. Remove the tag")
    quarantine: Any = content["quarantine"]
    if not all(isinstance(why, str) for why in quarantine.values()):
        raise BadRollout("rollout.quarantine: expected reasons as text, got something else. Remove the tag")
    return RolloutDocument(**content)


def merge(left: RolloutDocument, right: RolloutDocument) -> RolloutDocument:
    """What two replicas' documents come to. Read it through `without_quarantined`."""
    quarantine = dict(sorted([*left.quarantine.items(), *right.quarantine.items()], reverse=True))
    return replace(min(left, right, key=_rank), quarantine=dict(sorted(quarantine.items())))


def with_the_fleets(own: RolloutDocument, theirs: Mapping[str, str]) -> RolloutDocument:
    """A server's document with what the fleet has in quarantine: of its own rollout, a server knows best.

    What only the fleet has is news here. It counts as newer than all of this server's but its last, so that a tag that
    can't hold everything leaves out what has been told before.
    """
    own_digests = list(own.quarantine)
    order = [*own_digests[:-1], *(digest for digest in theirs if digest not in own.quarantine), *own_digests[-1:]]
    merged = merge(own, RolloutDocument(quarantine=theirs)).quarantine
    return replace(own, quarantine={digest: merged[digest] for digest in order})


def without_quarantined(document: RolloutDocument) -> RolloutDocument:
    """The document as it may be followed: nothing that is in quarantine has a place.

    Apart from `merge`, which would not be associative if it forgot the winner's places on the way.
    """
    if document.digest in document.quarantine:
        document = replace(document, id="", salt=0, digest="", weight_ppm=0, step=0)
    if document.stable in document.quarantine:
        document = replace(document, stable="")
    return document


def _rank(document: RolloutDocument) -> tuple[Any, ...]:
    """Smaller wins: the higher revision, then the lower digest; the rest only makes the order total."""
    return (
        -document.revision,
        document.digest,
        document.stable,
        document.id,
        document.salt,
        document.weight_ppm,
        document.step,
    )
