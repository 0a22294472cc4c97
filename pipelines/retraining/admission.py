"""Admission: which alerts ask for a training. One thread's, and without a clock of its own.

Used by `receiver.py`. Always: an event asks once, however often it is delivered; of a model one request is under way at
a time, and after it none for a while; what failed may be asked again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from enum import Enum, auto
from typing import Final

from pipelines.retraining.delivery import Alert

IDS_MAX: Final = 4096
"""Newest kept. A copy that somebody caught ends with the tolerance, long before so many events are signed."""
DRIFT: Final = "drift"
CANARY: Final = "canary"
"""The signal of a canary whose answers differ from its stable's: a fault of that version, no change of the world."""


class Verdict(Enum):
    """ASK: go and ask. OTHER: nothing that a training answers. QUIET: asked lately. BUSY: being asked right now."""

    ASK = auto()
    OTHER = auto()
    DOUBLE = auto()
    QUIET = auto()
    BUSY = auto()


class Admission:
    """models: for which a training can be asked for. quiet_s: after one was asked for, none for so long."""

    def __init__(self, models: Collection[str], quiet_s: float) -> None:
        self._models = frozenset(models)
        self._quiet_s = quiet_s
        self._asked_s: dict[str, float] = {}
        self._under_way: dict[str, str] = {}
        self._done: OrderedDict[str, None] = OrderedDict()

    def admit(self, alert: Alert, now_s: float) -> Verdict:
        """now_s: monotonic. After ASK, `settle` it."""
        if alert.kind != DRIFT or alert.signal == CANARY or alert.model not in self._models:
            return Verdict.OTHER
        if alert.id in self._done:
            return Verdict.DOUBLE
        if alert.model in self._under_way:
            return Verdict.BUSY
        asked_s = self._asked_s.get(alert.model)
        if asked_s is not None and now_s - asked_s < self._quiet_s:
            return Verdict.QUIET
        self._under_way[alert.model] = alert.id
        return Verdict.ASK

    def settle(self, alert: Alert, now_s: float, *, asked: bool) -> None:
        """asked: whether a training was asked for, so that the same event and the next ones ask for no other."""
        assert self._under_way.get(alert.model) == alert.id, "admitted, and settled once"
        del self._under_way[alert.model]
        if not asked:
            return
        self._asked_s[alert.model] = now_s
        self._done[alert.id] = None
        while len(self._done) > IDS_MAX:
            self._done.popitem(last=False)
