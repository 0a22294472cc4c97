"""What is true of one model: who serves it, who is on trial, what is never to be served.

Changed by `step` alone. Frozen and made of plain values, so that two states can be compared and one can be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.lifecycle.plan import Plan, Promotion, Step


@dataclass(frozen=True)
class Artifact:
    """version: as the registry counts. digest: sha256 in hex, which decides."""

    version: str
    digest: str


@dataclass(frozen=True)
class Rollout:
    """A canary and its plan. salt: for the split of keyed traffic. started: it has had a weight since it was loaded.

    step: of the plan; step_started_ns: monotonic. paused: the plan waits for an operator. requests: of the canary that
    count as evidence since the step began; verdict: the judge's last.
    """

    id: str
    salt: int
    artifact: Artifact
    plan: Plan
    started: bool = False
    step: int = 0
    step_started_ns: int = 0
    weight_ppm: int = 0
    paused: bool = False
    requests: int = 0
    verdict: str = "wait"

    @property
    def current(self) -> Step:
        return self.plan.steps[self.step]

    @property
    def on_last_step(self) -> bool:
        return self.step == len(self.plan.steps) - 1

    def baked(self, now_ns: int) -> bool:
        """True where the step has lasted, and seen, what the plan asks of it."""
        return (
            now_ns - self.step_started_ns >= self.current.bake_s * 1e9
            and self.requests >= self.current.minimum_requests
        )

    @property
    def awaits_approval(self) -> bool:
        return self.plan.promotion is Promotion.APPROVED and self.on_last_step and self.verdict == "not_worse"


@dataclass(frozen=True)
class ModelState:
    """One model. revision: grows by one with every decision.

    coming: what is to be stable as soon as it is loaded, where nothing safe was loaded. known: verified artifacts, the
    newest first, and last what could not be fetched just now. ready: digests that every worker holds. quarantine: why,
    by digest. incidents_ns: crashes and hangs of the stable. withheld: what a freeze or a setting kept from being done,
    so that it is said once. held: why plans go no further now, empty where they may; going home does not ask.
    """

    name: str
    revision: int = 0
    stable: Artifact | None = None
    last_safe: Artifact | None = None
    canary: Rollout | None = None
    shadow: Artifact | None = None
    shadow_started: bool = False
    coming: Artifact | None = None
    known: tuple[Artifact, ...] = ()
    ready: frozenset[str] = frozenset()
    quarantine: Mapping[str, str] = field(default_factory=dict)
    frozen: bool = False
    incidents_ns: tuple[int, ...] = ()
    withheld: frozenset[str] = frozenset()
    held: str = ""

    @property
    def needed(self) -> dict[str, Artifact]:
        """What must be loaded, by digest: never asked to leave while it stands here."""
        canary = self.canary.artifact if self.canary is not None else None
        artifacts = (self.stable, self.last_safe, canary, self.shadow, self.coming)
        return {artifact.digest: artifact for artifact in artifacts if artifact is not None}

    @property
    def on_trial(self) -> tuple[Artifact, ...]:
        """The canary's artifact and the shadow: what leaves at its first accident."""
        canary = self.canary.artifact if self.canary is not None else None
        return tuple(artifact for artifact in (canary, self.shadow) if artifact is not None)

    @property
    def weight_ppm(self) -> int:
        """The canary's share; the stable has the rest."""
        return self.canary.weight_ppm if self.canary is not None and self.canary.started else 0
