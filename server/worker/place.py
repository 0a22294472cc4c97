"""A place: what the batch loop knows of the model that is in a seat. Made as the model comes, gone with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.worker.brief_waits import BriefWaits
from server.worker.costs import CostModel
from server.worker.counting import RowCounter
from server.worker.models.bindings import Bindings


@dataclass(slots=True)
class Place:
    """generation: of the artifact, as the plane counts it. counter: None where the model has no baseline.

    costs: how long its batches took. computing: those that had a thread, without what they waited for a core.
    brief_waits: for which of those the loop stands still.
    """

    generation: int
    rows_max: int
    bindings: Bindings
    counter: RowCounter | None = None
    costs: CostModel = field(default_factory=CostModel)
    computing: CostModel = field(default_factory=CostModel)
    brief_waits: BriefWaits = field(default_factory=BriefWaits)
