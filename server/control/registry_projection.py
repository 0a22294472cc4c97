"""What the registry is told of a model: aliases, the rollout document, the journal's head.

Written through an outbox, the state after each decision and the head after each line of the journal; blocks. Always: it
says what the newest state says, however often it was down in between; the document has a revision only once the aliases
follow it; what other servers of the fleet put in quarantine stays in it, unless it was released here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from registry_client.errors import NotInRegistry
from registry_client.registry import Registry
from server.control.state_folder import KeptState
from server.lifecycle.documents import TAG, BadRollout, RolloutDocument, document_of, read_document, with_the_fleets
from server.lifecycle.state import Artifact, ModelState

JOURNAL_TAG: Final = "roost.journal"
ALIASES: Final = ("stable", "canary", "last_safe")


@dataclass(frozen=True)
class Anchor:
    """head: of the journal, behind its last line; kept at the model that the line is about."""

    model: str
    head: str


def anchor(registry: Registry, anchored: Anchor) -> None:
    """Raises ArtifactError, OSError and whatever else the registry's client does."""
    registry.set_model_tag(anchored.model, JOURNAL_TAG, anchored.head)


def project(registry: Registry, kept: KeptState) -> None:
    """Raises ArtifactError, OSError and whatever else the registry's client does."""
    model = kept.model
    tags = registry.model_tags(model.name)
    document = _with_the_fleets(document_of(model), tags, kept.released)
    before = _document(tags) or RolloutDocument()
    if before.quarantine.keys() != document.quarantine.keys():
        # Told at once, whatever becomes of the aliases.
        registry.set_model_tag(model.name, TAG, replace(before, quarantine=document.quarantine).to_text())
    pointed = {alias: version.version for version in registry.versions(model.name) for alias in version.aliases}
    for alias, artifact in _aliases(model).items():
        wanted = None if artifact is None else int(artifact.version)
        if wanted == pointed.get(alias):
            continue
        if wanted is not None:
            registry.set_alias(model.name, alias, wanted)
        elif alias != ALIASES[0]:
            # Without anything safe to serve, `stable` stays where it was: a start looks for it first.
            _remove(registry, model.name, alias)
    # Last: a start takes the document's revision for what the aliases say (server/cli/pinning.py).
    registry.set_model_tag(model.name, TAG, document.to_text())


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


def _remove(registry: Registry, name: str, alias: str) -> None:
    try:
        registry.remove_alias(name, alias)
    except NotInRegistry:
        return  # somebody was first
