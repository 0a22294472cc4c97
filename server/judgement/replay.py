"""Replay: the same judge over looks that were recorded, to ask what it would have said, and when.

Used offline, with another policy or to check a journal. Pure.
Always: the server's own `judge`; a rollout ends with the first WORSE, as it does in the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from server.judgement.evidence import Evidence
from server.judgement.policy import Policy
from server.judgement.verdicts import Judgement, Verdict, judge


@dataclass(frozen=True)
class Look:
    """All counts of a rollout as they stood at one look."""

    at_ns: int
    evidence: Evidence


@dataclass(frozen=True)
class Judged:
    look: Look
    judgement: Judgement


def replay(looks: Iterable[Look], policy: Policy) -> Iterator[Judged]:
    """Every look's judgement, up to and with the first that takes the canary home."""
    for look in looks:
        judgement = judge(look.evidence, policy)
        yield Judged(look, judgement)
        if judgement.verdict is Verdict.WORSE:
            return


def first_verdict(looks: Iterable[Look], policy: Policy) -> Judged | None:
    """The first look with a verdict other than WAIT; None where there was never enough evidence."""
    return next((judged for judged in replay(looks, policy) if judged.judgement.verdict is not Verdict.WAIT), None)
