"""What happens to a model: what operators ask for, and what becomes known.

Every event tells when: `now_ns` monotonic, for durations, and `at_utc`, ISO 8601, for the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from server.lifecycle.plan import Plan
from server.lifecycle.state import Artifact


@dataclass(frozen=True, kw_only=True)
class Event:
    now_ns: int
    at_utc: str


@dataclass(frozen=True, kw_only=True)
class Request(Event):
    """An operator's. request_id: the same id twice is the same request."""

    operator: str
    reason: str
    request_id: str


@dataclass(frozen=True, kw_only=True)
class DeployCanary(Request):
    """rollout_id, salt: drawn by the caller, since nothing here is random."""

    artifact: Artifact
    plan: Plan
    rollout_id: str
    salt: int


@dataclass(frozen=True, kw_only=True)
class SetWeight(Request):
    """The canary's share from now on; its plan pauses."""

    weight_ppm: int


@dataclass(frozen=True, kw_only=True)
class SetShadow(Request):
    artifact: Artifact | None


@dataclass(frozen=True, kw_only=True)
class Promote(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class Rollback(Request):
    """The canary goes; without one, the last safe artifact is stable again."""


@dataclass(frozen=True, kw_only=True)
class Quarantine(Request):
    digest: str


@dataclass(frozen=True, kw_only=True)
class Release(Request):
    digest: str


@dataclass(frozen=True, kw_only=True)
class Freeze(Request):
    """No automatic action from now on; operators' requests go on."""


@dataclass(frozen=True, kw_only=True)
class Unfreeze(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class Pause(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class Resume(Request):
    pass


@dataclass(frozen=True, kw_only=True)
class Known(Event):
    """Verified artifacts that are to be had, the newest first."""

    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, kw_only=True)
class Loaded(Event):
    """Every worker that serves holds it."""

    digest: str


@dataclass(frozen=True, kw_only=True)
class LoadFailed(Event):
    """It can't be served: not what the registry says, refused by the loader, or by a worker.

    unavailable: for want of a worker, or because it could not be fetched: it may well be asked for again.
    """

    digest: str
    reason: str
    unavailable: bool = False


@dataclass(frozen=True, kw_only=True)
class Judged(Event):
    """The judge has looked. verdict: "worse", "not_worse" or "wait". requests: of the canary in its step.

    withheld: why a canary that is worse is not taken back by itself, empty where it is.
    """

    digest: str
    verdict: str
    requests: int
    evidence: Mapping[str, Any] = field(default_factory=dict)
    withheld: str = ""


@dataclass(frozen=True, kw_only=True)
class Incident(Event):
    """A worker died in a run of it, a run of it did not end, it took too much memory, or it answers otherwise than the
    stable beside it, where the policy takes that for harm. evidence: plain JSON for the journal."""

    digest: str
    detail: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Tick(Event):
    """Time has passed."""
