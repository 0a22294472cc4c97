"""A rollout's plan: which share of the traffic, for how long, and with how much evidence.

Written by people as JSON or TOML, read here. Always: weights rise from step to step and stay within 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

PPM: Final = 1_000_000
STEPS_MAX: Final = 32
BAKE_S_MAX: Final = 30 * 24 * 3600.0
REQUESTS_MAX: Final = 10**12


class Promotion(StrEnum):
    """What follows the last step. NEVER: a canary of a weight, for an operator to end."""

    AUTOMATIC = "automatic"
    APPROVED = "approved"
    NEVER = "never"


class BadPlan(ValueError):
    """One line: the key, what was expected, what came, what to do."""


@dataclass(frozen=True)
class Step:
    """weight_ppm: the canary's share. bake_s, minimum_requests: of the canary, before the next step."""

    weight_ppm: int
    bake_s: float = 0.0
    minimum_requests: int = 0


@dataclass(frozen=True)
class Plan:
    """Steps in their order; after the last one a canary that is not worse is promoted as `promotion` says."""

    steps: tuple[Step, ...]
    promotion: Promotion = Promotion.AUTOMATIC


DEFAULT_PLAN: Final = Plan(
    (
        Step(10_000, bake_s=60, minimum_requests=500),
        Step(50_000, bake_s=300, minimum_requests=2_000),
        Step(250_000, bake_s=600, minimum_requests=3_000),
        Step(500_000, bake_s=600, minimum_requests=3_000),
    )
)


def constant(weight_ppm: int) -> Plan:
    """A canary that stays at one weight until an operator says more."""
    return Plan((Step(weight_ppm),), Promotion.NEVER)


def read_plan(document: object, what: str = "plan") -> Plan:
    """A plan from `{"promotion": "automatic", "steps": [{"weight": 0.05, "bake_s": 60, "minimum_requests": 500}]}`.

    weight is a share, 0 to 1. Raises BadPlan.
    """
    fields = _mapping(document, what, {"promotion", "steps"})
    steps = fields.get("steps")
    if not isinstance(steps, list) or not 1 <= len(steps) <= STEPS_MAX:
        raise BadPlan(
            f"{what}.steps: expected a list of 1 to {STEPS_MAX} steps, got {_shown(steps)}. Each has a weight."
        )
    read = tuple(_read_step(step, f"{what}.steps[{index}]") for index, step in enumerate(steps))
    for index in range(1, len(read)):
        if read[index].weight_ppm <= read[index - 1].weight_ppm:
            raise BadPlan(
                f"{what}.steps[{index}].weight: expected more than in the step before, got "
                f"{read[index].weight_ppm / PPM:g}. A plan only raises the weight; use rollback to lower it."
            )
    promotion = fields.get("promotion", Promotion.AUTOMATIC.value)
    if promotion not in set(Promotion):
        allowed = ", ".join(Promotion)
        raise BadPlan(
            f"{what}.promotion: expected one of {allowed}, got {_shown(promotion)}. Leave it out for automatic."
        )
    return Plan(read, Promotion(promotion))


def plan_document(plan: Plan) -> dict[str, Any]:
    """What `read_plan` reads."""
    return {
        "promotion": plan.promotion.value,
        "steps": [
            {"weight": step.weight_ppm / PPM, "bake_s": step.bake_s, "minimum_requests": step.minimum_requests}
            for step in plan.steps
        ],
    }


def read_weight(value: object, what: str) -> int:
    """Parts per million of a share, 0 to 1. Raises BadPlan."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise BadPlan(f"{what}: expected a share from 0 to 1, got {_shown(value)}. 5 % is 0.05.")
    return round(value * PPM)


def _read_step(document: object, what: str) -> Step:
    fields = _mapping(document, what, {"weight", "bake_s", "minimum_requests"})
    if "weight" not in fields:
        raise BadPlan(f"{what}.weight: expected a share from 0 to 1, got none. 5 % is 0.05.")
    return Step(
        read_weight(fields["weight"], f"{what}.weight"),
        float(_number(fields.get("bake_s", 0.0), f"{what}.bake_s", BAKE_S_MAX)),
        int(_number(fields.get("minimum_requests", 0), f"{what}.minimum_requests", REQUESTS_MAX)),
    )


def _number(value: object, what: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise BadPlan(f"{what}: expected a number from 0 to {most:g}, got {_shown(value)}. Leave it out for 0.")
    return value


def _mapping(document: object, what: str, keys: set[str]) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise BadPlan(f"{what}: expected an object with {', '.join(sorted(keys))}, got {_shown(document)}.")
    unknown = sorted(str(key) for key in document if key not in keys)
    if unknown:
        raise BadPlan(f"{what}.{unknown[0]}: expected one of {', '.join(sorted(keys))}, got another key. Remove it.")
    return document


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:80]
