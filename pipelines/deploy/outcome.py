"""What a deployment came to, in a line for people and as a document beside the version. Pure.

Made by `deploying.py`, read by the stage, by `make poison` and by who reads lineage. Always: the document says the same
as the line, and whose words each reason is: the server's, an operator's or ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from protos.roost.v1 import admin_pb2

FORMAT_VERSION: Final = 1
FAR: Final = 1e12
"""An odds ratio of more is told as none: nobody acts on the difference."""


class Result(StrEnum):
    """FIRST: there was nothing to compare with. STABLE_ALREADY: nothing was done."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    HELD = "held"
    FIRST = "first version"
    STABLE_ALREADY = "stable already"


@dataclass(frozen=True)
class Outcome:
    """version: the registry's number. reason: why, in words. done: what was done about it by us, "" for nothing.

    document: all of it, as JSON; {} where nothing was done. problems: what of it could not be kept where it belongs.
    """

    result: Result
    model: str
    version: int
    digest: str
    reason: str
    done: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def serves(self) -> bool:
        """Whether the version has all traffic."""
        return self.result in (Result.PROMOTED, Result.FIRST, Result.STABLE_ALREADY)

    @property
    def line(self) -> str:
        return f"{self.model} version {self.version}: {self.result}. {self.reason} {self.done}".rstrip()


def evidence_document(reply: admin_pb2.GetEvidenceReply) -> dict[str, Any]:
    """What was counted for and against the canary, by pair of weights and by signal."""
    return {
        "verdict": reply.verdict,
        "words": list(reply.words),
        "epochs": [
            {
                "canary_share": epoch.canary_ppm / 1e6,
                "stable": _arm(epoch.stable),
                "canary": _arm(epoch.canary) | {"units": epoch.canary.units},
            }
            for epoch in reply.epochs
        ],
        "signals": [
            {
                "name": signal.name,
                "stable_events": signal.stable_events,
                "canary_events": signal.canary_events,
                "e_worse": _rounded(signal.e_worse),
                "e_not_worse": _rounded(signal.e_not_worse),
                "odds_ratio": [_rounded(signal.odds_ratio_low), _rounded(signal.odds_ratio_high)],
            }
            for signal in reply.signals
        ],
    }


def drift_document(reply: admin_pb2.GetDriftReply) -> dict[str, Any]:
    """Whether the canary's answers differ from the stable's beside it."""
    canary = reply.canary
    return {
        "whose": canary.whose,
        "why": canary.why or canary.reason,
        "canary_rows": canary.canary_rows,
        "stable_rows": canary.stable_rows,
        "log_e": _rounded(canary.log_e),
        "log_threshold": _rounded(canary.log_threshold),
        "features": [
            {
                "name": one.name,
                "psi": _rounded(one.psi_debiased),
                "standard_error": _rounded(one.standard_error),
                "moved": one.moved,
            }
            for one in canary.features
        ],
    }


def _arm(counts: admin_pb2.ArmCounts) -> dict[str, int]:
    return {
        "requests": counts.requests,
        "errors": counts.errors_all,
        "non_finite": counts.non_finite_all,
        "timeouts": counts.timeouts_all,
    }


def _rounded(value: float) -> float | None:
    """Six digits; None where JSON has no number for it."""
    return float(f"{value:.6g}") if abs(value) < FAR else None
