"""Policy: what follows from a report of drift, by signal. Used by control and the replay. Pure.

Input drift never goes home by default: stable and canary see the same inputs, so that another version would see them
too. The same holds for predictions that shift in both arms, which follow their inputs.
Always: a signal has one of RESPONSES; what is not said is alerted or held, and nothing is rolled back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final


class Response(IntEnum):
    """In order of strength."""

    OFF = 0
    ALERT = 1
    HOLD = 2
    ROLLBACK = 3

    @property
    def word(self) -> str:
        return self.name.lower()


INPUTS: Final = "inputs"
PREDICTIONS: Final = "predictions"
CANARY: Final = "canary"
DEFAULTS: Final[Mapping[str, Response]] = MappingProxyType(
    {INPUTS: Response.ALERT, PREDICTIONS: Response.ALERT, CANARY: Response.HOLD}
)
"""inputs, predictions: of all traffic against the reference. canary: what only the canary's predictions show."""
THE_POPULATION_S: Final = frozenset({INPUTS, PREDICTIONS})
RESPONSES: Final[Mapping[str, Response]] = MappingProxyType({response.word: response for response in Response})


def response_of(word: str) -> Response:
    """The response that a setting's word names. Raises ValueError."""
    if word not in RESPONSES:
        raise ValueError(f"response: expected one of {', '.join(RESPONSES)}, got {word!r}")
    return RESPONSES[word]


@dataclass(frozen=True)
class DriftPolicy:
    """responses: by signal, DEFAULTS for those that are left out. cool_down_s: after an action, during which the same
    signal asks for none that is as strong or weaker. dry_run: actions are told, not taken.

    i_know, reason: both are needed to roll back for what the population does.
    """

    responses: Mapping[str, Response] = field(default_factory=dict)
    cool_down_s: float = 3600.0
    dry_run: bool = False
    i_know: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        for signal, response in self.responses.items():
            if signal not in DEFAULTS:
                raise ValueError(f"signal: expected one of {', '.join(DEFAULTS)}, got {signal!r}")
            known = self.i_know and self.reason.strip()
            if response is Response.ROLLBACK and signal in THE_POPULATION_S and not known:
                missing = "no reason" if self.i_know else "no i_know"
                raise ValueError(
                    f"{signal}: expected off, alert or hold, or i_know with a reason, got rollback with {missing}. "
                    "Every version sees the same inputs, so that going home seldom helps"
                )
        if not 0.0 <= self.cool_down_s < math.inf:
            raise ValueError(f"cool_down_s: expected seconds of at least 0, got {self.cool_down_s}")

    def response(self, signal: str) -> Response:
        """What is done about a signal. Raises ValueError for one that nobody knows."""
        if signal not in DEFAULTS:
            raise ValueError(f"signal: expected one of {', '.join(DEFAULTS)}, got {signal!r}")
        return self.responses.get(signal, DEFAULTS[signal])


@dataclass(frozen=True)
class Taken:
    """An action that was taken, or told in a dry run. at_s: of the clock that `decide` is given."""

    signal: str
    response: Response
    at_s: float


@dataclass(frozen=True)
class Asked:
    """response: OFF where nothing is to be done. dry_run: it is to be told, not done. why: in plain words."""

    signal: str
    response: Response
    dry_run: bool
    why: str


def decide(policy: DriftPolicy, signal: str, drifted: bool, now_s: float, taken: Iterable[Taken] = ()) -> Asked:
    """What a report asks for: `drifted` is whether its verdict is `drift`, or for the canary `model`.

    taken: the last actions, in any order. One in the future, since a clock has jumped back, cools nothing down.
    """
    response = policy.response(signal)
    if not drifted:
        return Asked(signal, Response.OFF, policy.dry_run, "Nothing has drifted.")
    if response is Response.OFF:
        return Asked(signal, Response.OFF, policy.dry_run, f"{signal} is switched off.")
    for action in taken:
        elapsed = now_s - action.at_s
        if action.signal == signal and action.response >= response and 0.0 <= elapsed < policy.cool_down_s:
            left = policy.cool_down_s - elapsed
            why = f"{action.response.word} was asked for {elapsed:,.0f} s ago; not again for {left:,.0f} s."
            return Asked(signal, Response.OFF, policy.dry_run, why)
    why = f"{'Dry run: would' if policy.dry_run else 'Policy says'} {response.word} for {signal}."
    if response is Response.ROLLBACK and policy.reason.strip():
        why = f"{why} Reason given: {policy.reason.strip()}"
    return Asked(signal, response, policy.dry_run, why)
