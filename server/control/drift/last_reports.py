"""Last reports: what each signal's last window said, kept so that a new control process knows it at once.

Used by `watching`. A week's report would come back only with the next week. Pure.
Always: what is read again is shown and alerted as before; bytes of another kind of window, or of other features, are
refused, and then the next window says it.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from server.control.drift.judging import Seen
from server.control.drift.signals import Signal
from server.control.drift.windows import Window
from server.judgement.drift.limits import Limits
from server.judgement.drift.report import DriftReport, Measured, Verdict

FLAGS: Final = frozenset({"named", "practical"})


class BadReport(ValueError):
    """The bytes are no report of this window and these features. The next window brings another."""


@dataclass(frozen=True)
class LastReport:
    """quiet_missing: windows in a row that must be quiet until its alarm is over; 0 where none stands."""

    seen: Seen
    quiet_missing: int


def report_key(signal: str, word: str) -> str:
    """Under which it is kept. word: of the kind of windows."""
    return f"{signal}/{word}/report"


def report_to_bytes(last: LastReport) -> bytes:
    report = last.seen.report
    head = {
        "end_utc_ns": last.seen.window.end_utc_ns,
        "verdict": report.verdict.value,
        "why": report.why,
        "rows": report.rows,
        "log_e": report.log_e,
        "log_r": report.log_r,
        "windows": report.windows,
        "rise_windows": report.rise_windows,
        "quiet_missing": last.quiet_missing,
    }
    measured = report.measured
    arrays = {} if measured is None else {one.name: getattr(measured, one.name) for one in fields(Measured)}
    file = io.BytesIO()
    np.savez(file, head=np.array(json.dumps(head)), **arrays)
    return file.getvalue()


def report_from_bytes(data: bytes, signal: Signal, digest: str, window: Window, limits: Limits) -> LastReport:
    """What was kept of this window, the last of its kind. Raises BadReport."""
    features = signal.reference.layout.features
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            head = json.loads(str(file["head"]))
            names = [one.name for one in fields(Measured) if one.name in file.files]
            arrays = {name: file[name] for name in names}
        if head["end_utc_ns"] != window.end_utc_ns:
            wanted_ns, found_ns = window.end_utc_ns, head["end_utc_ns"]
            raise BadReport(f"report: expected one of the window until {wanted_ns} ns, got {found_ns}")
        for name, array in arrays.items():
            wanted = np.dtype(np.bool_ if name in FLAGS else np.float64)
            if array.shape != (features,) or array.dtype != wanted:
                raise BadReport(f"report: {name}: expected {wanted}[{features}], got {array.dtype}{list(array.shape)}")
        report = DriftReport(
            verdict=Verdict(head["verdict"]),
            why=str(head["why"]),
            reference=signal.reference,
            limits=limits,
            rows=float(head["rows"]),
            log_e=float(head["log_e"]),
            log_r=float(head["log_r"]),
            windows=int(head["windows"]),
            rise_windows=int(head["rise_windows"]),
            measured=Measured(**arrays) if arrays else None,
        )
        missing = int(head["quiet_missing"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, BadReport):
            raise
        raise BadReport(f"report: expected what this build wrote, got {error}") from error
    return LastReport(Seen(signal.name, digest, window, report), missing)
