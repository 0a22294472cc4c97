"""Judging: a look at the evidence of every canary.

Used by the driver every judgement.look_ms. Always: the verdict is a pure function of the counts of the book; the
request count of a step is that of the weights that stand now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from server.control.evidence_book import EvidenceBook
from server.judgement.evidence import EpochCounts, Evidence
from server.judgement.policy import Policy
from server.judgement.verdicts import Judgement, judge
from server.settings import JudgementSettings


@dataclass(frozen=True)
class Look:
    """One canary at one look. step_requests: since the weights that stand now."""

    digest: str
    version: str
    evidence: Evidence
    judgement: Judgement
    step_requests: int

    def to_dict(self) -> dict[str, Any]:
        return self.judgement.to_dict()


def policy_of(settings: JudgementSettings) -> Policy:
    return Policy(
        alpha=settings.alpha,
        beta=settings.beta,
        margin_worse=settings.margin_worse,
        margin_not_worse=settings.margin_not_worse,
        cap=settings.cap,
    )


def look(book: EvidenceBook, policy: Policy, name: str, digest: str, version: str, weight_epoch: int) -> Look:
    """weight_epoch: of the route that stands."""
    evidence = tuple(
        EpochCounts(record.weight_epoch, record.canary_ppm, record.stable, record.canary)
        for record in book.records(name, digest)
    )
    requests = book.canary_requests(name, digest, since_epoch=weight_epoch)
    return Look(digest, version, evidence, judge(evidence, policy), requests)
