"""Evaluate: the graph as it will be served, on all rows kept for judging it, against every gate. After `train.py`.

Writes `evaluate/report.json` (form: `pipelines/evaluation/report.py`) and `beside/measured.json`. Always: every gate is
looked at before it refuses; a model that fails one leaves no folder `evaluate`, but `beside/failed_report.json`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.evaluation import gates, table
from pipelines.evaluation.budgets import Speed, speed
from pipelines.evaluation.examination import Examination, Subject, examine
from pipelines.evaluation.gates import Check
from pipelines.evaluation.measures import gate_measure
from pipelines.evaluation.report import report
from pipelines.examples import Split, read_examples
from pipelines.refusal import Refusal
from pipelines.training.tracking import log_metrics
from pipelines.work import Work, write_json
from registry_client.errors import ArtifactError
from registry_client.manifest import sha256_hex
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun

REPORT: Final = "report.json"
FAILED_REPORT: Final = "failed_report.json"
MEASURED: Final = "measured.json"


def run(work: Work) -> str:
    """Judges `train/model.onnx`. Raises Refusal with a table of the gates that failed."""
    shutil.rmtree(work.folder / "evaluate", ignore_errors=True)  # what was judged before is not what is judged now
    features = work.of("features")
    split = Split(*(read_examples(features / f"{part}.parquet") for part in ("training", "evaluation")))
    model_bytes, graph = _graph(work)
    found = examine(_subject(work, split, graph, len(model_bytes)), work.say)
    work.say("measuring speed on bare ONNX Runtime")
    measured = speed(model_bytes, split.evaluation)
    checks = gates.judged(found, work.parameters.gates)
    of_speed = gates.judged_speed(measured, work.parameters.gates)
    _write_measured(work, measured, of_speed)
    document = _of(model_bytes, report(work.definition, found, checks, work.parameters.gates))
    failed = work.beside / FAILED_REPORT
    failed.unlink(missing_ok=True)
    if not all(check.passed for check in (*checks, *of_speed)):
        write_json(failed, document)
        if not work.ungated:
            raise _refusal((*checks, *of_speed), failed)
    with work.output("evaluate") as folder:
        write_json(folder / REPORT, document)
    whole = {name: figure for name, figure in document["whole"].items() if figure is not None}
    log_metrics(work, {f"evaluation_{name}": float(figure) for name, figure in whole.items()})
    return _words(found, checks, of_speed)


def _graph(work: Work) -> tuple[bytes, ReferenceRun]:
    path = work.of("train") / "model.onnx"
    try:
        model_bytes = path.read_bytes()
        return model_bytes, ReferenceRun(model_bytes, read_onnx(model_bytes).signature)
    except (OSError, ArtifactError) as error:
        raise Refusal(
            str(path), expected="a graph that can be served", got=str(error)[:200], hint="Run the train stage again."
        ) from error


def _subject(work: Work, split: Split, graph: ReferenceRun, model_bytes: int) -> Subject:
    seed, rows_min = work.parameters.train.seed, work.parameters.gates.slice_rows_min
    return Subject(work.definition, split, graph, model_bytes, seed, rows_min)


def _of(model_bytes: bytes, document: dict[str, Any]) -> dict[str, Any]:
    """The report, which names the graph that it speaks of: the bundle stage takes no other."""
    return {**document, "model": {**document["model"], "sha256": sha256_hex(model_bytes)}}


def _write_measured(work: Work, measured: Speed, checks: Sequence[Check]) -> None:
    write_json(work.beside / MEASURED, {"latency": measured.as_json(), "gates": gates.as_json(checks)})


def _refusal(checks: Sequence[Check], report: Path) -> Refusal:
    failed = _names(check for check in checks if not check.passed)
    return Refusal(
        "gates", expected=f"all {len(_names(checks))} to pass", got=f"{len(failed)} that failed: {', '.join(failed)}",
        hint=f"Nothing is registered. The whole report is {report}; bounds are `gates` in params.yaml.",
        table=table.failed_lines(checks),
    )  # fmt: skip


def _words(found: Examination, checks: Sequence[Check], of_speed: Sequence[Check]) -> str:
    figure = f"{found.judge.name} {gate_measure(found.whole):.4f} on {found.whole.rows:,} rows"
    failed = _names(check for check in (*checks, *of_speed) if not check.passed)
    if failed:
        return f"{figure}, although gates failed: {', '.join(failed)}"
    return f"{figure}, {len(_names(checks))} gates passed at {len(checks)} places, and {len(of_speed)} of speed"


def _names(checks: Iterable[Check]) -> tuple[str, ...]:
    """Of the gates, each once, in their order."""
    return tuple(dict.fromkeys(check.gate for check in checks))
