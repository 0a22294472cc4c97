"""Evidence: counts of a canary and the stable beside it, by the weights under which they arose.

Collected by control from the plane's cells, judged by `verdicts.judge`.
What counts is settled before: first attempts only, not pinned, not shed, not expired before dispatch; of a key, its
first event. Always: one `EpochCounts` a routing epoch after `merged`, sorted by epoch, and no count is negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PPM: Final = 1_000_000
SIGNALS: Final = ("errors", "non_finite", "timeouts")


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """What became of one variant's requests. A hang counts at its limit, so an event may come before its request."""

    requests: int = 0
    errors: int = 0
    non_finite: int = 0
    timeouts: int = 0

    def __post_init__(self) -> None:
        for name in ("requests", *SIGNALS):
            count = getattr(self, name)
            if count < 0:
                raise ValueError(f"{name}: expected a count of 0 or more, got {count}. Counts of one cell only grow")

    def __add__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.non_finite + other.non_finite,
            self.timeouts + other.timeouts,
        )

    def __sub__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(
            self.requests - other.requests,
            self.errors - other.errors,
            self.non_finite - other.non_finite,
            self.timeouts - other.timeouts,
        )

    def events(self, signal: str) -> int:
        """Count of one of SIGNALS."""
        if signal not in SIGNALS:
            raise KeyError(f"signal: expected one of {', '.join(SIGNALS)}, got {signal!r}")
        count: int = getattr(self, signal)
        return count


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
