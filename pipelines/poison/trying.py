"""Trying a case: is it stopped by a gate, and, where no gate stands, does a server keep it from all traffic.

Used by `make poison` and by its test. Always: a folder, tables and a registry of its own, so that nothing spoilt is
ever where somebody could serve it from.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pipelines.deploy.deploying import deploy
from pipelines.deploy.options import Options
from pipelines.deploy.outcome import Outcome
from pipelines.deploy.progress_view import View
from pipelines.poison.cases import Case, spoilt
from pipelines.refusal import Refusal
from pipelines.stages.evaluate import FAILED_REPORT
from pipelines.stages.register import FAILED_COMPARISON
from pipelines.work import Work, read_json

NAME: Final = "employment"
TO_BE_JUDGED: Final = ("snapshot", "features", "train", "evaluate")
TO_BE_SERVED: Final = ("evaluate", "bundle", "register")


@dataclass(frozen=True)
class Stopped:
    """gates: those that failed, in the order in which they are looked at. first: the one that the case is known by."""

    gates: tuple[str, ...]
    first: dict[str, Any] | None
    refusal: str


def sound(work: Work, registry: str) -> Work:
    """The example as it is, registered as what is stable and to be compared with."""
    honest = replace(work, registry=registry, tracking=None).elsewhere("sound")
    for stage in (*TO_BE_JUDGED, *TO_BE_SERVED[1:]):
        _run(stage, honest)
    return honest


def work_of_case(work: Work, case: Case, folder: Path, registry: str) -> Work:
    """The same run with the case's records, apart from everything else."""
    shutil.rmtree(folder / case.name, ignore_errors=True)
    return replace(
        work,
        definition=spoilt(work.definition, case),
        folder=folder / case.name / NAME,
        lake=folder / case.name / "lake",
        registry=registry,
        tracking=None,
    )


def judged(work: Work, case: Case) -> Stopped | None:
    """What the gates said; None where all of them let it pass. Raises Refusal where it never came to them."""
    try:
        for stage in (*TO_BE_JUDGED, *(TO_BE_SERVED[1:] if case.everywhere else ())):
            _run(stage, work)
    except Refusal as refusal:
        gates = _failed(work)
        if not gates:
            raise
        first = next((gate for gate in gates if gate["name"] in case.gates), None)
        return Stopped(tuple(dict.fromkeys(gate["name"] for gate in gates)), first, str(refusal))
    return None


def _failed(work: Work) -> list[dict[str, Any]]:
    """The gates that did not pass, by what the stage that refused has left: evaluate's, or register's."""
    reports = [path for path in (work.beside / name for name in (FAILED_REPORT, FAILED_COMPARISON)) if path.exists()]
    return [gate for path in reports for gate in read_json(path)["gates"] if not gate["passed"]]


def served(work: Work, honest: Work, view: View, said: Callable[[str], None]) -> Outcome:
    """What a server made of it, with no gate in its way. honest: the sound run, whose rows are what is played."""
    ungated = replace(work, ungated=True)
    for stage in TO_BE_SERVED:
        said(stage)
        _run(stage, ungated)
    # Callers know nothing of what went wrong with the records: they send what they have always sent.
    rows = "evaluation.parquet"
    shutil.copyfile(honest.of("features") / rows, work.of("features") / rows)
    return deploy(ungated, Options(own_server=True), view)


def _run(stage: str, work: Work) -> None:
    import_module(f"pipelines.stages.{stage}").run(work)
