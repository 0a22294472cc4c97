"""What the drift page is told, as JSON: models, a heat map, one feature, and what is new. Pure.

Used by `routes` and `listeners`. Figures of the last window are those of its report, as GetDrift tells them; those of
older windows are made from their counts. Always: bounded by FEATURES_MAX and `questions.WINDOWS_MAX`, and what is left
out is counted; no infinity, no NaN; a model of which nothing is known has a reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from native.drift.program import rows_between
from registry_client.baseline.document import Feature
from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.book import DriftBook
from server.control.drift.judging import Seen
from server.control.drift.responding import ALERT_PREFIX
from server.control.drift.signals import Signal
from server.control.drift.watching import ModelDrift
from server.control.drift.windows import Window, WindowKind
from server.control.drift_page.history import Chosen, History, chosen, first_of, history_of
from server.control.drift_page.questions import SIGNALS, BadQuestion, Question, one_of
from server.control.event_log import utc_text
from server.judgement.drift.layout import Floats
from server.judgement.drift.psi import band
from server.judgement.drift.reference import RARE_BELOW
from server.judgement.drift.report import LOG_E_MAX, FeatureDrift, Verdict

Document = dict[str, Any]

FEATURES_MAX: Final = 200  # rows of a heat map
IN_MEMORY: Final = 1 << 20  # more windows than are ever kept there
NS_PER_S: Final = 1_000_000_000
DIGITS: Final = 5
WORST_FIRST: Final = (Verdict.DRIFT, Verdict.NOT_ENOUGH, Verdict.QUIET)
TRAINING: Final = "the training reference"
THIS_HOUR: Final = "what is usual at this hour of the week"


@dataclass(frozen=True, eq=False)
class Known:
    """All that is to be told of one model. alerts: the server's. off: signals that the settings do not judge.

    rows_min: a window with fewer rows says nothing.
    """

    name: str
    version: str
    drift: ModelDrift
    book: DriftBook
    alerts: Mapping[str, str]
    off: frozenset[str]
    rows_min: int

    def windows(self, kind: WindowKind) -> tuple[Window, ...]:
        """All closed ones in memory, in order."""
        return self.book.windows(self.name, self.drift.digest, kind, IN_MEMORY)

    def signal(self, name: str) -> Signal | None:
        return next((signal for signal in self.drift.signals if signal.name == name), None)

    def seen(self, question: Question) -> Seen | None:
        """The last report of this signal and length."""
        return self.drift.reports.get((question.signal, question.kind))


# --- Models ----------------------------------------------------------------------------------------------------------
def models_document(models: Mapping[str, ModelDrift]) -> Document:
    """Those that there are, in the settings' order, each with the worst that any of its last windows says."""
    return {"models": [{"name": name, "verdict": _worst(known)} for name, known in models.items()]}


def _worst(known: ModelDrift) -> str | None:
    said = {seen.report.verdict for seen in known.reports.values()}
    return next((verdict.value for verdict in WORST_FIRST if verdict in said), None)


def news_document(known: Known) -> Document:
    """What a page that listens compares: another once a window has closed, an alert is over, or another is stable."""
    return {
        "model": known.name,
        "digest": known.drift.digest,
        "reason": known.drift.reason,
        "alerts": [alert["key"] for alert in _alerts(known)],
        "windows": [
            {
                "signal": signal,
                "length": kind.word,
                "end_utc": _utc(seen.window.end_utc_ns),
                "verdict": seen.report.verdict.value,
            }
            for (signal, kind), seen in known.drift.reports.items()
        ],
    }


# --- The heat map ----------------------------------------------------------------------------------------------------
def heat_map_document(known: Known, question: Question) -> Document:
    """reason: why there is no heat map, or "". order: by what the features are sorted, "concern" or "distance"."""
    windows = known.windows(question.kind)
    baseline, signal, seen = known.drift.baseline, known.signal(question.signal), known.seen(question)
    document: Document = {
        "model": known.name,
        "version": known.version,
        "digest": known.drift.digest,
        "signal": question.signal,
        "length": question.kind.word,
        "signals": [one.name for one in known.drift.signals if one.name in SIGNALS],
        "lengths": [{"word": kind.word, "windows": len(known.windows(kind))} for kind in WindowKind],
        "rows_min": known.rows_min,
        "alerts": _alerts(known),
        "judged": None if seen is None else _judged(known, seen),
        "not_judged": _not_judged(known, question, seen),
        "reason": "",
        "columns": [],
        "features": [],
        "left_out": {"features": 0, "windows": 0},
    }
    reason = _reason(known, question, windows)
    if reason or baseline is None or signal is None:
        return {**document, "reason": reason or known.drift.reason}
    shown = windows[max(len(windows) - question.windows, 0) :]
    reports = _reports(seen)
    order = _order(baseline, signal, reports, shown[-1])
    features = chosen(baseline, signal, order[:FEATURES_MAX])
    history = history_of(features, shown, _phi(features, reports))
    return {
        **document,
        "rows_between": rows_between(len(baseline.features)),
        "order": "concern" if reports else "distance",
        "columns": [_column(window, rows) for window, rows in zip(shown, history.rows.tolist(), strict=True)],
        "features": [
            _row(name, at, history, reports.get(name), float(signal.reference.weights[place]))
            for at, (name, place) in enumerate(zip(features.reference.names, features.places.tolist(), strict=True))
        ],
        "left_out": {"features": len(order) - len(features.places), "windows": len(windows) - len(shown)},
    }


def _reason(known: Known, question: Question, windows: Sequence[Window]) -> str:
    """Why there is nothing to draw, in a sentence."""
    if known.drift.baseline is None or not known.drift.signals:
        return known.drift.reason
    if known.signal(question.signal) is None:
        return f"Its baseline has no {question.signal}, so that their drift is not seen."
    if not windows:
        return f"No {question.kind.word} has ended yet since rows of this version are counted."
    return ""


def _not_judged(known: Known, question: Question, seen: Seen | None) -> str:
    """Why there is a heat map and no verdict, or ""."""
    if seen is not None:
        return ""
    if question.signal in known.off:
        return f"Not judged: drift.{question.signal} is off in the settings."
    return f"Not judged yet: the first whole {question.kind.word} since the server looks has not ended."


def _order(
    baseline: ArtifactBaseline, signal: Signal, reports: Mapping[str, FeatureDrift], last: Window
) -> list[int]:
    """Places of all features: as the report has them; where there is none, by how far they are in the last window."""
    place_of = {name: place for place, name in enumerate(signal.reference.names)}
    if reports:
        return [place_of[name] for name in reports]
    everything = chosen(baseline, signal, range(len(signal.reference.names)))
    history = history_of(everything, [last], np.ones(len(everything.places)))
    worth = np.maximum(history.debiased[0], 0.0) * signal.reference.weights
    found: list[int] = np.argsort(-worth, kind="stable").tolist()
    return found


def _column(window: Window, rows: float) -> Document:
    return {
        "window": window.unit_utc_ns // NS_PER_S,
        "start_utc": _utc(window.start_utc_ns),
        "end_utc": _utc(window.end_utc_ns),
        "rows": round(rows),
    }


def _row(name: str, at: int, history: History, report: FeatureDrift | None, weight: float) -> Document:
    counted = history.counted[:, at].tolist()
    return {
        "name": name,
        "weight": weight,
        "judged": None if report is None else _figures(report),
        "psi": _rounded(history.psi[:, at], counted),
        "debiased": _rounded(history.debiased[:, at], counted),
    }


def _rounded(values: Floats, counted: Sequence[bool]) -> list[float | None]:
    return [
        value if known else None for value, known in zip(np.round(values, DIGITS).tolist(), counted, strict=True)
    ]


# --- One feature -----------------------------------------------------------------------------------------------------
def feature_document(known: Known, question: Question) -> Document:
    """One feature in one window, the last one where none is asked for. Raises BadQuestion where there is no such.

    counted: figures made from the counts, of any window. judged: the report's, of the last one; None, with a reason in
    `unknown`, for all others.
    """
    baseline, signal, seen = known.drift.baseline, known.signal(question.signal), known.seen(question)
    windows = known.windows(question.kind)
    reason = _reason(known, question, windows)
    if reason or baseline is None or signal is None:
        raise BadQuestion("feature", expected="a model with windows", got=f"{known.name}: {reason}")
    names = signal.reference.names
    if question.feature not in names:
        raise BadQuestion("feature", expected=one_of(names), got=repr(question.feature[:80]))
    place = names.index(question.feature)
    window = _asked_for(question, windows, seen)
    is_judged = seen is not None and seen.window.unit_utc_ns == window.unit_utc_ns
    reports = _reports(seen)
    features = chosen(baseline, signal, [place])
    history = history_of(features, [window], _phi(features, reports))
    report = reports.get(question.feature) if is_judged else None
    number = first_of(baseline, question.signal) + place
    feature = baseline.features[number]
    return {
        "model": known.name,
        "signal": question.signal,
        "length": question.kind.word,
        "name": feature.name,
        "kind": feature.kind.value,
        "weight": float(signal.reference.weights[place]),
        "window": {**_column(window, float(history.rows[0])), "is_last": is_judged or seen is None},
        "counted": _counted(history),
        "judged": None if report is None else _figures(report),
        "against": _against(known, seen) if report is not None and seen is not None else TRAINING,
        "unknown": "" if report is not None else _unknown(known, question, seen, is_judged=is_judged),
        "bins": _bins(feature, baseline.of_feature(window.counts, number).tolist()),
        "rare_bins": _rare(feature),
    }


def _asked_for(question: Question, windows: Sequence[Window], seen: Seen | None) -> Window:
    if question.window is None:
        return windows[-1] if seen is None else seen.window
    for window in windows:
        if window.unit_utc_ns // NS_PER_S == question.window:
            return window
    raise BadQuestion(
        "window", expected=f"when a {question.kind.word} in memory begins, in seconds of UTC", got=f"{question.window}"
    )


def _unknown(known: Known, question: Question, seen: Seen | None, *, is_judged: bool) -> str:
    if seen is None:
        return _not_judged(known, question, seen)
    if is_judged:
        return seen.report.why
    return (
        "Standard error, effective sample and e-value are known for the last window only: how many of an older "
        "window's rows are independent is not kept."
    )


def _bins(feature: Feature, counts: Sequence[int]) -> list[Document]:
    return [
        {"label": label, "reference": reference, "live": live}
        for label, reference, live in zip(feature.bins, feature.counts, counts, strict=True)
    ]


def _rare(feature: Feature) -> int:
    """How many bins are judged as one, since the reference hardly has them."""
    return sum(count < RARE_BELOW for count in feature.counts)


def _counted(history: History) -> Document | None:
    """Of one feature in one window; None where it has no rows."""
    if not history.counted[0, 0]:
        return None
    value = float(history.psi[0, 0])
    return {"psi": value, "band": band(value).value, "debiased": float(history.debiased[0, 0])}


# --- Parts -----------------------------------------------------------------------------------------------------------
def _reports(seen: Seen | None) -> dict[str, FeatureDrift]:
    """By name, in order of concern; empty where nothing was measured."""
    return {} if seen is None else {feature.name: feature for feature in seen.report.features}


def _phi(features: Chosen, reports: Mapping[str, FeatureDrift]) -> Floats:
    """The last window's, or 1 where that is not known."""
    return np.array([reports[name].phi if name in reports else 1.0 for name in features.reference.names])


def _judged(known: Known, seen: Seen) -> Document:
    report = seen.report
    return {
        "window": seen.window.unit_utc_ns // NS_PER_S,
        "start_utc": _utc(seen.window.start_utc_ns),
        "end_utc": _utc(seen.window.end_utc_ns),
        "verdict": report.verdict.value,
        "why": report.why,
        "rows": round(report.rows),
        "weighted_psi": report.weighted_psi0,
        "log_detector": report.log_r if math.isfinite(report.log_r) else None,
        "threshold": report.limits.threshold,
        "tau": report.limits.tau,
        "z": report.limits.z,
        "false_discoveries": report.limits.false_discoveries,
        "moved": len(report.moved),
        "measured": report.measured is not None,
        "against": _against(known, seen),
    }


def _against(known: Known, seen: Seen) -> str:
    signal = known.signal(seen.signal)
    return TRAINING if signal is None or seen.report.reference is signal.reference else THIS_HOUR


def _figures(report: FeatureDrift) -> Document:
    """The same numbers, under the same names where it has them, as a FeatureDrift of GetDrift."""
    return {
        "psi": report.psi,
        "psi_debiased": report.psi0,
        "standard_error": report.standard_error,
        "rule_of_thumb": report.band.value,
        "rows": report.rows,
        "effective_rows": report.effective_rows,
        "phi": report.phi,
        "log_e": report.log_e,
        "e_value": math.exp(min(report.log_e, LOG_E_MAX)),
        "named": report.named,
        "practical": report.practical,
        "moved": report.moved,
    }


def _alerts(known: Known) -> list[Document]:
    """Of this model's drift, and of drift as a whole."""
    own = f"{ALERT_PREFIX}{known.name}: "
    return [
        {"key": key, "text": text}
        for key, text in known.alerts.items()
        if key.startswith(own) or key == ALERT_PREFIX.split()[0]
    ]


def _utc(at_utc_ns: int) -> str:
    return utc_text(at_utc_ns / NS_PER_S)
