"""What becomes of a canary that goes bad, as its callers see it. Pure; used by `bad_canary`."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadtests.verified_pool import WrongAnswer

FOLLOW_NS = 100_000_000  # for idle workers to follow, and for the reply to the poll


@dataclass
class Trial:
    """What became of the canary. Moments are of perf_counter_ns; 0: not yet. deployed_ns: it has its share."""

    stable: str
    canary: str
    deployed_ns: int = 0
    home_ns: int = 0
    requests: int = 0  # of all versions, between the two
    canary_replies: int = 0
    bad_replies: int = 0
    failed_calls: int = 0
    last_canary_ns: int = 0
    quarantined: str = ""
    refusal: str = ""
    failed_texts: dict[str, int] = field(default_factory=dict)

    @property
    def is_out(self) -> bool:
        return self.deployed_ns > 0 and self.home_ns == 0

    def answered(self, version: str, bad: bool, began_ns: int, ended_ns: int) -> WrongAnswer | None:
        """A reply of `version`; what is wrong with it, where the canary should not have answered any more."""
        if self.is_out:
            self.requests += 1
        if version != self.canary:
            return None
        self.canary_replies += 1
        self.bad_replies += bad
        self.last_canary_ns = max(self.last_canary_ns, ended_ns)
        if self.home_ns and began_ns > self.home_ns + FOLLOW_NS:
            return WrongAnswer("expected the stable version after the canary went home, got the canary")
        return None

    def failed(self, text: str) -> None:
        """A call that began while the canary had its share, and failed."""
        self.requests += 1
        self.failed_calls += 1
        self.failed_texts[text] = self.failed_texts.get(text, 0) + 1

    def lines(self) -> list[str]:
        """What to print."""
        if self.refusal:
            return [f"version {self.canary} was refused: {self.refusal}"]
        if not self.home_ns:
            return [f"version {self.canary} is not home: {self.requests:,} requests, {self.bad_replies:,} bad replies"]
        seconds = (self.home_ns - self.deployed_ns) / 1e9
        late_ms = max(self.last_canary_ns - self.home_ns, 0) / 1e6
        return [
            f"version {self.canary} was home after {seconds:.2f} s and {self.requests:,} requests"
            + (f", in quarantine ({self.quarantined})" if self.quarantined else ""),
            f"  it answered {self.canary_replies:,}, {self.bad_replies:,} of them badly, and failed "
            f"{self.failed_calls:,}; its last reply came {late_ms:.1f} ms after it was seen to be home",
            *(f"  {count:,} x {text}" for text, count in sorted(self.failed_texts.items())),
        ]
