"""Evidence: counts of a canary and the stable beside it, by the weights under which they arose.

Collected by control from the plane's cells, judged by `verdicts.judge`.
What counts is settled before: first attempts only, not pinned, not shed, not expired before dispatch.

A **unit** (of randomisation) is what the split sends to one variant or the other: a key, or a request without one.
Ratios compare units' first events, since a key keeps its variant with all of its events. Rates are looked at both ways:
first events among units, all events among requests. Of units only the canary's are counted.
Always: one `EpochCounts` a routing epoch after `merged`, sorted by epoch, and no count is negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Final

PPM: Final = 1_000_000
SIGNALS: Final = ("errors", "non_finite", "timeouts")


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """What became of one variant's requests. A hang counts at its limit, so an event may come before its request.

    errors, non_finite, timeouts: a key's first event of any kind, and each event of requests without a key.
    errors_all, non_finite_all, timeouts_all: each event of each request.
    """

    requests: int = 0
    errors: int = 0
    non_finite: int = 0
    timeouts: int = 0
    units: int = 0
    errors_all: int = 0
    non_finite_all: int = 0
    timeouts_all: int = 0

    def __post_init__(self) -> None:
        for name in COUNTED:
            count = getattr(self, name)
            if count < 0:
                raise ValueError(f"{name}: expected a count of 0 or more, got {count}. Counts of one cell only grow")

    def __add__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(*(getattr(self, name) + getattr(other, name) for name in COUNTED))

    def __sub__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(*(getattr(self, name) - getattr(other, name) for name in COUNTED))

    def events(self, signal: str) -> int:
        """First events of one of SIGNALS."""
        return self._count(signal, signal)

    def events_all(self, signal: str) -> int:
        """All events of one of SIGNALS."""
        return self._count(signal, f"{signal}_all")

    def _count(self, signal: str, name: str) -> int:
        if signal not in SIGNALS:
            raise KeyError(f"signal: expected one of {', '.join(SIGNALS)}, got {signal!r}")
        count: int = getattr(self, name)
        return count


COUNTED: Final = tuple(field.name for field in fields(ArmCounts))


def keyless(requests: int = 0, errors: int = 0, non_finite: int = 0, timeouts: int = 0) -> ArmCounts:
    """Counts of requests that have no keys: each is a unit, and each event its unit's first."""
    return ArmCounts(requests, errors, non_finite, timeouts, requests, errors, non_finite, timeouts)


@dataclass(frozen=True, slots=True)
class EpochCounts:
    """Counts of both variants while one weight stood. epoch: the weights' number, of one rollout."""

    epoch: int
    canary_weight_ppm: int
    stable: ArmCounts
    canary: ArmCounts

    def __post_init__(self) -> None:
        if not 0 <= self.canary_weight_ppm <= PPM:
            raise ValueError(
                f"canary_weight_ppm: expected 0 to {PPM} (all traffic), got {self.canary_weight_ppm}. "
                f"It is the weight of epoch {self.epoch}, in millionths"
            )

    @property
    def says_something(self) -> bool:
        """Whether both variants had traffic to be compared: a weight of nothing or of all carries no evidence."""
        return 0 < self.canary_weight_ppm < PPM


Evidence = tuple[EpochCounts, ...]


def merged(*parts: Iterable[EpochCounts]) -> Evidence:
    """Counts of several workers, or replicas, or restarts, added up by epoch. The order of the parts is no matter."""
    by_epoch: dict[int, EpochCounts] = {}
    for part in parts:
        for counts in part:
            known = by_epoch.get(counts.epoch)
            if known is None:
                by_epoch[counts.epoch] = counts
            elif known.canary_weight_ppm != counts.canary_weight_ppm:
                raise ValueError(
                    f"canary_weight_ppm: expected {known.canary_weight_ppm} as elsewhere in epoch {counts.epoch}, "
                    f"got {counts.canary_weight_ppm}. A change of weights begins a new epoch"
                )
            else:
                by_epoch[counts.epoch] = EpochCounts(
                    counts.epoch,
                    counts.canary_weight_ppm,
                    known.stable + counts.stable,
                    known.canary + counts.canary,
                )
    return tuple(by_epoch[epoch] for epoch in sorted(by_epoch))


def since(earlier: Evidence, now: Evidence) -> Evidence:
    """What `now` has more than `earlier`: leaves out a burn-in, whose length must be fixed before it begins."""
    before = {counts.epoch: counts for counts in earlier}
    missing = sorted(before.keys() - {counts.epoch for counts in now})
    if missing:
        raise ValueError(f"epoch: expected all of the earlier ones, got none of {missing}. Evidence only grows")
    return tuple(
        EpochCounts(
            counts.epoch,
            counts.canary_weight_ppm,
            counts.stable - before[counts.epoch].stable,
            counts.canary - before[counts.epoch].canary,
        )
        if counts.epoch in before
        else counts
        for counts in now
    )
