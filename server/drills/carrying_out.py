"""Carrying a drill out: its folders, its incident, and the report, whatever became of it.

Used by `roost drill` and by the drills' tests. Always: a report is written even where the drill could not be carried
out; then an expectation says so, and the drill has failed.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy
import onnxruntime

from server.drills.report import Report, document, page, utc_now
from server.drills.stack import LOG, StackFailed
from server.drills.walk import Walk
from server.version import VERSION

REPORT_JSON, REPORT_PAGE = "report.json", "report.md"


@dataclass(frozen=True)
class Drill:
    """runbook: its page. incident: stages it in a folder of the drill's own, and walks the runbook."""

    name: str
    title: str
    runbook: str
    incident: Callable[[Walk, Path], None]


def carry_out(drill: Drill, into: Path, said: Callable[[str], None], *, keep: bool = False) -> Report:
    """The report, written into the folder `into`, which must exist, with the server's log beside it.

    said: each line of progress. keep: the folder in which the server ran stays, and is said. Raises OSError where the
    report can't be written.
    """
    report = Report(drill.name, drill.title, drill.runbook, _versions())
    folder = Path(tempfile.mkdtemp(prefix="roost-drill-"))
    walk = Walk(report, said)
    try:
        drill.incident(walk, folder)
    except (StackFailed, grpc.RpcError, OSError) as error:
        walk.expect("the drill can be carried out", False, _in_words(error))
    finally:
        if (folder / LOG).exists():
            shutil.copy(folder / LOG, into / LOG)
        if keep:
            said(f"Kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    report.ended_utc = utc_now()
    (into / REPORT_JSON).write_text(json.dumps(document(report), indent=2) + "\n", encoding="utf-8")
    (into / REPORT_PAGE).write_text(page(report), encoding="utf-8")
    return report


def _versions() -> dict[str, str]:
    return {
        "roost": VERSION,
        "Python": platform.python_version(),
        "ONNX Runtime": str(onnxruntime.__version__),
        "numpy": numpy.__version__,
        "grpcio": str(grpc.__version__),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _in_words(error: Exception) -> str:
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
