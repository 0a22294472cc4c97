"""The state folder: what one server keeps over its restarts, beside the journal.

    journal.jsonl   every decision (journal_file)
    states.json     each model's state after its last decision
    served.json     each model's stable version: what to start with where the registry is down, or behind
    evidence.json   what was counted for and against each canary (evidence_book)
    webhooks.json   events that wait to be posted (webhooks/kept)
    drift.db        windows of what was counted, a database with rules of its own (drift/store)

Used by the driver and by recovery; blocks. Always: each file is replaced whole; one that is missing or damaged is as if
it were not there, and is said to be so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from registry_client.placing import place_file
from server.control.evidence_book import EvidenceBook
from server.control.state_document import read_state, state_document
from server.lifecycle.state import Artifact, ModelState

log = logging.getLogger("roost.control")

FORMAT: Final = 1
STATES, SERVED, EVIDENCE = "states.json", "served.json", "evidence.json"


@dataclass(frozen=True)
class KeptState:
    """released: digests that were let out of quarantine here, whatever the registry's document still says.

    untold: something was decided here that the registry has not been told of, as far as this server knows.
    untold_revision: the last such decision, where one at least was of more than weights; 0: none was.
    """

    model: ModelState
    released: frozenset[str] = field(default_factory=frozenset)
    untold: bool = False
    untold_revision: int = 0


class StateFolder:
    """path: None keeps nothing, for a server that serves files only."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._served = b""  # as it was written last

    def write_states(self, states: Iterable[KeptState]) -> None:
        """Raises OSError."""
        if self.path is None:
            return
        kept = tuple(states)
        self.path.mkdir(parents=True, exist_ok=True)
        served = {one.model.name: _served(one, one.model.stable) for one in kept if one.model.stable is not None}
        documents = [
            {"state": state_document(one.model), "released": sorted(one.released), "untold": one.untold} for one in kept
        ]
        # What is served first: between the two, the next start would follow an alias that is behind.
        encoded, path = _encode(served), self.path / SERVED
        if encoded != self._served or _content(path) != encoded:
            self._served = b""  # as long as it is not known to have reached the disk
            place_file(path, encoded)
            self._served = encoded
        place_file(self.path / STATES, _encode({"format": FORMAT, "models": documents}))

    def read_states(self) -> Mapping[str, KeptState]:
        """By model."""
        document = self._read(STATES)
        if document is None:
            return {}
        try:
            kept = [_kept(one) for one in document["models"]]
            # Written before this file: where the server ended between the two, the registry lacks what that one says.
            served = self._read(SERVED) or {}
            kept = [_as_untold_as(one, served.get(one.model.name) or {}) for one in kept]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            log.warning("%s is damaged, and is left out", STATES, extra={"fields": {"reason": str(error)}})
            return {}
        return {one.model.name: one for one in kept}

    def write_evidence(self, data: bytes) -> None:
        """Raises OSError."""
        if self.path is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            place_file(self.path / EVIDENCE, data)

    def read_evidence(self, boot: str) -> EvidenceBook:
        if self.path is None:
            return EvidenceBook(boot)
        try:
            return EvidenceBook.decode((self.path / EVIDENCE).read_bytes(), boot)
        except FileNotFoundError:
            return EvidenceBook(boot)
        except (OSError, ValueError) as error:
            log.warning("%s is damaged, and is left out", EVIDENCE, extra={"fields": {"reason": str(error)}})
            return EvidenceBook(boot)

    def _read(self, name: str) -> Any:
        if self.path is None:
            return None
        try:
            return json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s is damaged, and is left out", name, extra={"fields": {"reason": str(error)}})
            return None


def _kept(document: Mapping[str, Any]) -> KeptState:
    """Raises KeyError, TypeError, ValueError. What is untold may have been of more than weights."""
    model, untold = read_state(document["state"]), bool(document.get("untold", False))
    return KeptState(model, frozenset(map(str, document["released"])), untold, model.revision if untold else 0)


def _as_untold_as(kept: KeptState, served: Mapping[str, Any]) -> KeptState:
    revision = int(served.get("untold", 0))
    return replace(kept, untold=True, untold_revision=revision) if revision > kept.model.revision else kept


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _served(kept: KeptState, stable: Artifact) -> dict[str, Any]:
    """untold: the revision that the registry lacks, where it lacks one."""
    served = {"version": stable.version, "digest": stable.digest}
    return {**served, "untold": kept.untold_revision} if kept.untold_revision else served


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
