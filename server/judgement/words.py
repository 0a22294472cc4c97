"""Words: a judgement as people say it, for `roost explain` and the journal's readers.

Used by control. Pure. Always: every figure is the judgement's own, and what is not known is called so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from server.judgement.evidence import ArmCounts, EpochCounts, Evidence, keyless
from server.judgement.policy import Policy
from server.judgement.verdicts import Judgement, SignalEvidence, Verdict, judge

FORESEEN_REQUESTS_MAX: Final = 100_000_000
FORESEEN_EVENTS_MAX: Final = 100_000
NAMES: Final = {
    "errors": ("error", "errors"),
    "non_finite": ("non-finite output", "non-finite outputs"),
    "timeouts": ("timeout", "timeouts"),
}


def in_words(judgement: Judgement) -> tuple[str, ...]:
    """The verdict with its reason, then a sentence for each signal."""
    return (_verdict(judgement), *(_signal(judgement, signal) for signal in judgement.signals))


def what_would_change_it(evidence: Evidence, policy: Policy) -> tuple[str, ...]:
    """What would take this canary home, and what would let it pass, were the weights to stay as they are now."""
    judgement = judge(evidence, policy)
    telling = [counts for counts in evidence if counts.says_something]
    if not telling or judgement.verdict is Verdict.WORSE:
        return ()
    sentences = []
    name = _worst(judgement).name
    events = _fewest(
        lambda more: judge((*evidence, _more(telling[-1], name, more)), policy).verdict is Verdict.WORSE,
        FORESEEN_EVENTS_MAX,
    )
    if events is not None:
        sentences.append(
            f"{_count(events, name, more=True)} of the canary, and none of the stable, would take it home."
        )
    if judgement.verdict is Verdict.WAIT:
        requests = _fewest(
            lambda more: judge((*evidence, _quiet(telling[-1], more)), policy).verdict is Verdict.NOT_WORSE,
            FORESEEN_REQUESTS_MAX,
        )
        if requests is not None:
            of_keys = ", each of another key," if judgement.canary_units < judgement.canary_requests else ""
            sentences.append(
                f"{requests:,} more canary requests without any event{of_keys} would show that it is not worse."
            )
        else:
            sentences.append("More requests without any event would not do: it passes only beside a stable that fails.")
    return tuple(sentences)


def _verdict(judgement: Judgement) -> str:
    home = f"rolled back at E >= {_e(judgement.policy.worse_at)}, is {_e(judgement.e_worse)}"
    if judgement.verdict is Verdict.WORSE:
        assert judgement.decisive is not None
        return f"Worse than the stable beside it, by {NAMES[judgement.decisive][1]}: {home}."
    passes_at = _e(judgement.policy.not_worse_at)
    if judgement.verdict is Verdict.NOT_WORSE:
        least = min(judgement.signals, key=lambda signal: signal.e_pass)
        return (
            f"Not worse than the stable beside it: every signal passes at E >= {passes_at}, "
            f"the least of them, {NAMES[least.name][1]}, is {_e(least.e_pass)}."
        )
    if judgement.canary_requests + judgement.stable_requests == 0:
        return "Nothing to judge: no request carries evidence yet. A weight of 0 % or of 100 % gives none."
    said = f"Not enough evidence in {judgement.canary_requests:,} canary requests: would be {home}"
    if judgement.decisive is None:
        return f"{said}; every signal passes, from {judgement.policy.canary_requests_min:,} canary requests on."
    held = judgement.signal(judgement.decisive)
    return f"{said}; {NAMES[held.name][1]} would pass at E >= {passes_at}, is {_e(held.e_pass)}."


def _signal(judgement: Judgement, signal: SignalEvidence) -> str:
    canary, stable = f"{judgement.canary_requests:,} canary requests", f"{judgement.stable_requests:,} of the stable's"
    if judgement.canary_units < judgement.canary_requests:
        canary = f"{canary} of {judgement.canary_units:,} keys"
    if signal.estimate is None:
        return f"No {NAMES[signal.name][1]} in {canary}, nor in {stable}."
    confidence = f"with {100 * (1 - judgement.policy.alpha):g} % confidence"
    if signal.psi_low == 0.0 and math.isinf(signal.psi_high):
        bounds = "too few to bound the ratio of rates"
    elif math.isinf(signal.psi_high):
        bounds = f"at least {_ratio(signal.psi_low)} times the stable's rate {confidence}"
    elif signal.psi_low == 0.0:
        bounds = f"at most {_ratio(signal.psi_high)} times the stable's rate {confidence}"
    else:
        bounds = f"between {_ratio(signal.psi_low)} and {_ratio(signal.psi_high)} times the stable's rate {confidence}"
    if 0.0 < signal.estimate < math.inf:
        bounds = f"likeliest {_ratio(signal.estimate)}, {bounds}"
    counts = f"{_count(signal.canary_events, signal.name)} in {canary} against {signal.stable_events:,} in {stable}"
    again = signal.canary_events_all - signal.canary_events
    more = f" Keys that had failed before add {_count(again, signal.name)} of the canary." if again > 0 else ""
    return f"{counts}: {bounds}.{more}"


def _worst(judgement: Judgement) -> SignalEvidence:
    return max(judgement.signals, key=lambda signal: signal.weight * signal.e_bad)


def _more(last: EpochCounts, name: str, events: int) -> EpochCounts:
    return replace(last, stable=ArmCounts(), canary=keyless(requests=events, **{name: events}))


def _quiet(last: EpochCounts, requests: int) -> EpochCounts:
    return replace(last, stable=ArmCounts(), canary=keyless(requests=requests))


def _fewest(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 1 on that is enough, None where `most` is not; what is enough stays so for more."""
    high = 1
    while not enough(high):
        if high >= most:
            return None
        high = min(2 * high, most)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _count(events: int, name: str, *, more: bool = False) -> str:
    one, several = NAMES[name]
    return f"{events:,} {'more ' if more else ''}{one if events == 1 else several}"


def _e(value: float) -> str:
    """Two or three digits, since nobody acts on more."""
    if value >= 1e6:
        return f"{value:.0e}".replace("e+0", "e").replace("e+", "e")
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}"


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
