"""The judge of drift: one window and what was known before in, a report and what is known now out.

Used by control at each window's end and by the replay over recorded ones: the same function, so the same answer. Pure.
Always: a window that says nothing (no rows, too few, dependence unknown) changes nothing that is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from server.judgement.drift import detector
from server.judgement.drift.dispersion import Estimate, estimate, larger
from server.judgement.drift.e_values import e_bh, log_e_values, log_weighted_mean
from server.judgement.drift.layout import Floats
from server.judgement.drift.limits import Limits
from server.judgement.drift.psi import debiased, psi, shares, standard_error
from server.judgement.drift.reference import Reference
from server.judgement.drift.report import DriftReport, Measured, Verdict
from server.judgement.drift.state import Rise, SignalState
from server.judgement.drift.window import Window
from server.judgement.drift.words import why_drift, why_quiet

REFERENCE_ROWS_PER_ROW: Final = 10.0
"""A window is worth a tenth of its reference's rows at most. All windows share the reference's error: judged at full
worth, quiet windows of 10,000 rows against 1,100 raised the detector without bound in 4 of 30 streams; so, in none."""


@dataclass(frozen=True)
class Judged:
    report: DriftReport
    state: SignalState


def judge(reference: Reference, window: Window, state: SignalState, limits: Limits) -> Judged:
    """What this window says, after all that came before it.

    Raises TooFewRows where the reference is too small for limits.tau, ValueError where the bins are others.
    """
    reference.check_rows(limits.tau)
    counts = reference.merged(window.counts)
    rows = reference.layout.sum(counts)
    most = float(rows.max())
    if most < limits.rows_min:
        why = "No rows in this window." if most == 0 else (
            f"{most:,.0f} rows in this window, {limits.rows_min:,} are needed."
        )  # fmt: skip
        return Judged(not_enough(reference, limits, state, most, why), state)
    own = _own_dispersion(reference, window)
    if own is None:
        why = "All rows of this window fall into one block, so that nobody can tell how many of them are independent."
        return Judged(not_enough(reference, limits, state, most, why), state)
    phi = state.dispersion.used(own)
    log_e = _log_e(reference, counts, phi, limits)
    together = log_weighted_mean(log_e, reference.weights)
    log_r = detector.step(state.log_r, together, limits.log_threshold)
    rises = state.log_r >= 0.0
    rise = state.rise.with_window(counts, rows / phi) if rises else Rise(counts, rows / phi, 1.0, state.rise.hour)
    measured = _measured(reference, counts, phi, log_e, rise, limits, over_rise=log_r >= limits.log_threshold)
    shown = log_r >= limits.log_threshold
    known = SignalState(log_r, state.windows + 1, state.dispersion if shown else state.dispersion.learnt(own), rise)
    drifted = shown and bool((measured.named & measured.practical).any())
    report = DriftReport(
        verdict=Verdict.DRIFT if drifted else Verdict.QUIET,
        why=(why_drift if drifted else why_quiet)(reference, measured, limits, log_r, int(rise.windows)),
        reference=reference,
        limits=limits,
        rows=most,
        log_e=together,
        log_r=log_r,
        windows=known.windows,
        rise_windows=int(rise.windows),
        measured=measured,
    )
    return Judged(report, known)


def watched(reference: Reference, window: Window, state: SignalState) -> SignalState:
    """The state after a window that is not judged: how dependent its rows are is learnt, and nothing else."""
    own = _own_dispersion(reference, window)
    return state if own is None else replace(state, dispersion=state.dispersion.learnt(own))


def not_enough(reference: Reference, limits: Limits, state: SignalState, rows: float, why: str) -> DriftReport:
    """A report that says why nothing is said."""
    return DriftReport(
        Verdict.NOT_ENOUGH, why, reference, limits, rows, 0.0, state.log_r, state.windows, int(state.rise.windows), None
    )


def _log_e(reference: Reference, counts: Floats, phi: Floats, limits: Limits) -> Floats:
    """ln e by feature, of rows worth what `phi` leaves of them, and no more than their share of the reference."""
    layout, known = reference.layout, reference.effective_counts(phi, limits.tau)
    worth = np.maximum(phi, REFERENCE_ROWS_PER_ROW * layout.sum(counts) / layout.sum(known))
    return log_e_values(counts / layout.spread(worth), known, layout)


def _own_dispersion(reference: Reference, window: Window) -> Estimate | None:
    """The window's own phi, by key or by time, whichever is larger; None where neither way has two blocks with rows."""
    splits = [blocks for blocks in (window.by_key, window.by_time) if blocks is not None]
    usable = [blocks for blocks in splits if np.count_nonzero(blocks.any(axis=1)) > 1]
    if not usable:
        return None
    estimates = [estimate(reference.merged(blocks), reference.layout) for blocks in usable]
    return estimates[0] if len(estimates) == 1 else larger(*estimates)


def _measured(
    reference: Reference, counts: Floats, phi: Floats, log_e: Floats, rise: Rise, limits: Limits, *, over_rise: bool
) -> Measured:
    """over_rise: features are named by all windows since the detector began to rise, as the alarm is; else by this."""
    layout, q = reference.layout, shares(reference.counts, reference.layout)
    rows = layout.sum(counts)
    p = shares(counts, layout)
    value = psi(p, q, layout)
    psi0 = debiased(value, layout, rows / phi, reference.rows)
    error = standard_error(p, q, layout, rows / phi, reference.rows)
    rise_psi0, rise_error, rise_log_e = psi0, error, log_e
    if rise.windows > 1:
        rise_p = shares(rise.counts, layout)
        rise_psi0 = debiased(psi(rise_p, q, layout), layout, rise.effective_rows, reference.rows)
        rise_error = standard_error(rise_p, q, layout, rise.effective_rows, reference.rows)
        if over_rise:
            rise_log_e = _log_e(reference, rise.counts, layout.sum(rise.counts) / rise.effective_rows, limits)
    practical = (psi0 - limits.z * error > limits.tau) | (rise_psi0 - limits.z * rise_error > limits.tau)
    return Measured(
        rows=rows,
        phi=phi,
        psi=value,
        psi0=psi0,
        standard_error=error,
        rise_psi0=rise_psi0,
        rise_standard_error=rise_error,
        log_e=log_e,
        named=e_bh(rise_log_e, limits.false_discoveries),
        practical=np.asarray(practical),
    )
