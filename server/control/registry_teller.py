"""What is told the registry, and when: each model's newest state, and the journal's head once it has another line.

Used by the driver; `registry_projection` knows how either is written. Always: deciding waits for none of it, and a
model that the registry refuses holds up no other. What goes home is told at once. All else rests for a moment, weights
for a second: what follows upon it is told with it, and the work does not come while the decision itself is carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from server.control.artifact_source import ArtifactSource
from server.control.journal_keeper import JournalKeeper
from server.control.outbox import Outbox
from server.control.registry_projection import Anchor, anchor, project
from server.control.state_folder import KeptState

REST_S: Final = 0.25
WEIGHTS_REST_S: Final = 1.0  # which a start does not take from the registry


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

    def tell(self, kept: KeptState, *, of_weights: bool, urgent: bool) -> None:
        """The newest state of a model replaces one that waits. urgent: something goes home."""
        self.box.put(kept.model.name, kept, rest_s=0.0 if urgent else _rest_s(of_weights))

    def anchor(self, model: str, *, of_weights: bool = False) -> None:
        """The journal's head, once a line about this model is on disk: at its model, or at one that is there."""
        mark = self._keeper.mark
        if self._models and mark is not None:
            name = model if model in self._models else self._models[0]
            self.box.put(("journal", name), Anchor(name, mark), rest_s=_rest_s(of_weights))

    def anchor_everywhere(self) -> None:
        """Each model's may tell that the file was cut off."""
        for name in self._models:
            self.anchor(name)

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


def _rest_s(of_weights: bool) -> float:
    return WEIGHTS_REST_S if of_weights else REST_S
