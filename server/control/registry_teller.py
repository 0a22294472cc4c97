"""What is told the registry, and when: each model's newest state, and the journal's head once it has another line.

Used by the driver; `registry_projection` knows how either is written. Always: deciding waits for none of it, and a
model that the registry refuses holds up no other. While weights are moved again and again, it hears of them once a
second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from server.control.artifact_source import ArtifactSource
from server.control.journal_keeper import JournalKeeper
from server.control.outbox import Outbox
from server.control.registry_projection import Anchor, anchor, project
from server.control.state_folder import KeptState

APART_S: Final = 1.0  # of weights, which a start does not take from the registry


class RegistryTeller:
    """models: those that the registry has. alert: of the outbox.

    told: called with each state that the registry has by now, and with None after the journal's head was looked at.
    """

    def __init__(
        self,
        source: ArtifactSource,
        keeper: JournalKeeper,
        models: Sequence[str],
        alert: Callable[[str | None], None],
        told: Callable[[KeptState | None], None],
    ) -> None:
        self._source = source
        self._keeper = keeper
        self._models = models
        self._told = told
        self.box: Outbox[KeptState | Anchor] = Outbox(
            "registry", self._write, alert, independent=True, written=self._written
        )

    def tell(self, kept: KeptState, *, at_once: bool) -> None:
        """The newest state of a model replaces one that waits. at_once: False for weights alone."""
        self.box.put(kept.model.name, kept, apart_s=0.0 if at_once else APART_S)

    def anchor(self, model: str, *, at_once: bool) -> None:
        """The journal's head, once a line about this model is on disk: at its model, or at one that is there.

        at_once: False for a line of weights alone.
        """
        mark = self._keeper.mark
        if self._models and mark is not None:
            name = model if model in self._models else self._models[0]
            self.box.put(("journal", name), Anchor(name, mark), apart_s=0.0 if at_once else APART_S)

    def anchor_everywhere(self) -> None:
        """Each model's may tell that the file was cut off."""
        for name in self._models:
            self.anchor(name, at_once=True)

    def _write(self, item: KeptState | Anchor) -> None:
        """In a thread."""
        if isinstance(item, Anchor):
            anchor(self._source.opened(), item, self._keeper.lacks)
        else:
            project(self._source.opened(), item)

    def _written(self, item: KeptState | Anchor) -> None:
        if not isinstance(item, Anchor):
            self._told(item)
            return
        if item.lacking is not None:
            self._keeper.found_lacking(item.lacking)
        self._told(None)
