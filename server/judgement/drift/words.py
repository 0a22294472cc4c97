"""Words: why a report says what it says, as people say it. Used by `judge`, `season` and `canary`. Pure.

Always: every figure is the report's own.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from server.judgement.drift.limits import Limits
from server.judgement.drift.reference import Reference
from server.judgement.drift.report import Measured

NAMED_MAX: Final = 3
NAME_CHARACTERS_MAX: Final = 60


def why_drift(reference: Reference, measured: Measured, limits: Limits, log_r: float, windows: int) -> str:
    moved = measured.named & measured.practical
    order = np.argsort(-np.where(moved, measured.rise_psi0 * (reference.weights + 1e-12), -np.inf), kind="stable")
    shown = order[: min(NAMED_MAX, int(moved.sum()))].tolist()
    names = ", ".join(f"{_name(reference, f)} (PSI {_psi_of(measured, f):.2g})" for f in shown)
    more = int(moved.sum()) - len(shown)
    others = f" and {more:,} more" if more else ""
    return f"Moved: {names}{others}, {_since(windows)}; {_detector(limits, log_r)}."


def why_quiet(reference: Reference, measured: Measured, limits: Limits, log_r: float, windows: int) -> str:
    if log_r < limits.log_threshold:
        return f"Nothing that chance would not do: {_detector(limits, log_r)}."
    f = int(np.argmax(measured.rise_psi0))
    return (
        f"A shift that is no accident, but too small to matter: the largest PSI is {_name(reference, f)}'s, "
        f"{measured.rise_psi0[f]:.2g} +- {measured.rise_standard_error[f]:.2g} {_since(windows)}, and an alarm needs a "
        f"feature named that is above {limits.tau:g} by {limits.z:g} standard errors."
    )


def _psi_of(measured: Measured, f: int) -> float:
    return max(float(measured.rise_psi0[f]), float(measured.psi0[f]))


def _since(windows: int) -> str:
    return "in this window" if windows == 1 else f"over the last {windows:,} windows"


def _detector(limits: Limits, log_r: float) -> str:
    if log_r >= limits.log_threshold:
        return f"the detector has reached {limits.threshold:,.0f}, which an alarm needs"
    r = math.exp(log_r)
    shown = f"{r:,.0f}" if r >= 10 else f"{r:.2g}"
    return f"the detector is at {shown}, an alarm needs {limits.threshold:,.0f}"


def _name(reference: Reference, f: int) -> str:
    name = reference.names[f]
    return name if len(name) <= NAME_CHARACTERS_MAX else f"{name[: NAME_CHARACTERS_MAX - 3]}..."
