"""What the registry is told of a model: aliases, the rollout document, the journal's head.

Written through an outbox, after decisions and lines of the journal: the newest state and the newest head; blocks.
Always: it says what the newest state says, however often it was down in between; the document has a revision only once
the aliases follow it; what other servers of the fleet put in quarantine stays in it, unless it was released here. A
journal's head only moves forward: where it stands beyond what the file has, the file was cut off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from registry_client.registry import Registry
from server.control.journal_mark import JournalMark, read_mark
from server.control.state_folder import KeptState
from server.lifecycle.documents import TAG, BadRollout, RolloutDocument, document_of, read_document, with_the_fleets
from server.lifecycle.state import Artifact, ModelState

log = logging.getLogger("roost.control")

JOURNAL_TAG: Final = "roost.journal"
ALIASES: Final = ("stable", "canary", "last_safe")


@dataclass
class Anchor:
    """The journal's mark, to be kept at a model. lacking: the one that was found there, where the journal lacks it."""

    model: str
    mark: JournalMark
    lacking: JournalMark | None = None


def anchor(registry: Registry, told: Anchor, lacks: Callable[[JournalMark], bool]) -> None:
    """Moves this journal's mark forward, never back: what stands there is read first, and left where it is lacking.

    lacks: whether this journal lacks a line of its own. Raises ArtifactError, OSError and whatever else the registry's
    client does.
    """
    text = registry.model_tags(told.model).get(JOURNAL_TAG)
    there = None if text is None else read_mark(text)
    if there is not None and lacks(there):
        told.lacking = there
        return
    if there is None or there.first != told.mark.first:
        if text is not None:
            fields = {"model": told.model, "was": text, "is": str(told.mark)}
            log.info("the registry had another journal's head", extra={"fields": fields})
    elif there.head.number >= told.mark.head.number:
        return
    registry.set_model_tag(told.model, JOURNAL_TAG, str(told.mark))


def project(registry: Registry, kept: KeptState) -> None:
    """Raises ArtifactError, OSError and whatever else the registry's client does."""
    model = kept.model
    tags = registry.model_tags(model.name)
    document = _with_the_fleets(document_of(model), tags, kept.released)
    at_once = replace(_document(tags) or RolloutDocument(), quarantine=document.quarantine).to_text()
    if document.quarantine and at_once != tags.get(TAG):
        registry.set_model_tag(model.name, TAG, at_once)  # whatever becomes of the aliases
    pointed = {alias: version.version for version in registry.versions(model.name) for alias in version.aliases}
    wanted = {alias: None if artifact is None else int(artifact.version) for alias, artifact in _aliases(model).items()}
    moved = {
        alias: number
        for alias, number in wanted.items()
        # Without anything safe to serve, `stable` stays where it was: a start looks for it first.
        if number != pointed.get(alias) and (number is not None or alias != ALIASES[0])
    }
    # The document not before the aliases: a start takes its revision for what they say (server/cli/pinning.py).
    registry.record(model.name, moved, {TAG: document.to_text()})


def fleets_quarantine(tags: Mapping[str, str], kept: KeptState) -> Mapping[str, str]:
    """Digests that others have put in quarantine and this server has neither in quarantine nor released."""
    document = _document(tags)
    if document is None:
        return {}
    known = kept.model.quarantine.keys() | kept.released
    return {digest: why for digest, why in document.quarantine.items() if digest not in known}


def _with_the_fleets(own: RolloutDocument, tags: Mapping[str, str], released: frozenset[str]) -> RolloutDocument:
    theirs = _document(tags)
    if theirs is None:
        return own
    quarantine = {digest: why for digest, why in theirs.quarantine.items() if digest not in released}
    return with_the_fleets(own, quarantine)


def _document(tags: Mapping[str, str]) -> RolloutDocument | None:
    try:
        return read_document(tags[TAG])
    except (KeyError, BadRollout):
        return None


def _aliases(model: ModelState) -> dict[str, Artifact | None]:
    canary = model.canary.artifact if model.canary is not None else None
    return dict(zip(ALIASES, (model.stable, canary, model.last_safe), strict=True))
