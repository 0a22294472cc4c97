"""A weight that stands: who must answer while it does. Pure; used by `canary_flip`."""

from __future__ import annotations

from dataclasses import dataclass

import roost

PPM = 1_000_000


@dataclass(frozen=True, eq=False)
class Standing:
    """A canary's share that all workers follow, until the next flip begins. Compared by identity: each flip is its own.

    salt: the rollout's.
    """

    canary_ppm: int
    stable: str
    canary: str
    salt: int

    def __str__(self) -> str:
        return f"the canary had {self.canary_ppm / PPM:g} of the traffic"

    def expected(self, key: str) -> str | None:
        """The only version that may answer a request with this routing key, "" for none; None where both may."""
        if key:
            return self.canary if roost.key_position(key, self.salt) < self.canary_ppm else self.stable
        if self.canary_ppm in (0, PPM):
            return self.canary if self.canary_ppm else self.stable
        return None
