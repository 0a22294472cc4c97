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
        for stage in TO_BE_JUDGED:
            _run(stage, work)
    except Refusal as refusal:
        failed = work.beside / "failed_report.json"
        if not failed.exists():
            raise
        gates = [gate for gate in read_json(failed)["gates"] if not gate["passed"]]
        first = next((gate for gate in gates if gate["name"] in case.gates), None)
        return Stopped(tuple(dict.fromkeys(gate["name"] for gate in gates)), first, str(refusal))
    return None


def served(work: Work, view: View, said: Callable[[str], None]) -> Outcome:
    """What a server made of it, with no gate in its way."""
    ungated = replace(work, ungated=True)
    for stage in TO_BE_SERVED:
        said(stage)
        _run(stage, ungated)
    return deploy(ungated, Options(own_server=True), view)


def _run(stage: str, work: Work) -> None:
    import_module(f"pipelines.stages.{stage}").run(work)
