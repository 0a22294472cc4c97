"""`make poison`, short: each case is stopped by its gate, one is tried on a server, and the check itself can fail."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.definition import definition
from pipelines.deploy.outcome import Outcome, Result
from pipelines.deploy.progress_view import shown
from pipelines.lake.constraints import check
from pipelines.parameters import Deploy, Step
from pipelines.poison import __main__ as command
from pipelines.poison.cases import CASES, SPOILT_LOAD, Case, spoilt
from pipelines.poison.trying import NAME, Stopped, judged, served, sound, work_of_case
from pipelines.running import work_of
from pipelines.work import Work
from registry_client.folder import FolderRegistry
from tests.pipelines.records import FEW, ROWS, with_records

pytestmark = pytest.mark.patient  # mostly processes of its own, run beside the others

ROOT = Path(__file__).parents[3]
NOTHING = Case("nothing", "records as they are", ("population",), lambda records: records)
# Held as soon as answers are compared; it could only be promoted later.
PLAN = Deploy(steps=(Step(weight=0.5, seconds=30, requests=100),), rows_per_s=800, timeout_s=60)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = with_records(tmp_path_factory.mktemp("poison") / "roost")
    changes = [f"snapshot.rows_max={ROWS}", *FEW, "train.trees.count=20"]
    return work_of(NAME, registry=str(folder / "registry"), folder=folder, changes=changes)


@pytest.fixture(scope="module")
def stable(work: Work) -> str:
    """A registry whose stable version was made of sound records."""
    registry = str(work.lake.parent / "stable")
    sound(work, registry)
    return registry


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_breaks_no_rule_of_its_table_and_changes_the_years_that_it_says(
    case: Case, work: Work
) -> None:
    (rules,) = work.definition.tables
    usual, changed = (
        {load.name: load.records for load in of.fetch(work.downloads, ROWS)}
        for of in (work.definition, spoilt(work.definition, case))
    )
    for year in changed:
        check(changed[year], rules, year)
    hit = [year for year in usual if not usual[year].equals(changed[year])]
    assert hit == (list(usual) if case.everywhere else [SPOILT_LOAD])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_is_stopped_by_a_gate_that_is_named_for_it(case: Case, work: Work, stable: str) -> None:
    stopped = judged(work_of_case(work, case, work.lake.parent / "poison", stable), case)
    assert stopped is not None
    assert stopped.first is not None, stopped.gates
    assert stopped.first["name"] in case.gates
    assert stopped.first["measured"] is not None
    assert "Nothing is registered." in stopped.refusal
    assert [version.version for version in FolderRegistry(Path(stable)).versions(NAME)] == [1]


def test_records_as_they_are_pass_and_are_told_to_have_got_through(work: Work) -> None:
    stopped = judged(work_of_case(work, NOTHING, work.lake.parent / "poison", work.registry), NOTHING)
    assert stopped is None
    assert not command.document(NOTHING, stopped, None)["held_off"]


def test_past_the_gates_a_server_holds_it_and_says_why_in_words(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_REGISTRY__CACHE", str(work.lake.parent / "cache"))
    case = case_named("shuffled-labels")
    registry = str(work.lake.parent / "tried")
    short = replace(work, parameters=work.parameters.model_copy(update={"deploy": PLAN}))
    honest = sound(short, registry)
    own = work_of_case(short, case, work.lake.parent / "poison", registry)
    stopped = judged(own, case)
    with shown(Console(quiet=True)) as view:
        outcome = served(own, honest, view, lambda stage: None)
    assert outcome.result is Result.HELD, outcome.line
    assert "The predictions of version 2 differ from its stable's" in outcome.reason
    assert "probabilities[1] (PSI" in outcome.reason
    assert "It was taken back: version 1 serves alone, as before." in outcome.done
    assert command.document(case, stopped, outcome)["held_off"]
    aliases = {version.version: version.aliases for version in FolderRegistry(Path(registry)).versions(NAME)}
    assert aliases == {1: ("stable",), 2: ()}


# --- The verdict and the command -------------------------------------------------------------------------------------
GATE = {"name": "auc", "on": "all rows", "measured": 0.52, "bound": 0.8}
BY_ITS_GATE = Stopped(("auc",), GATE, "gates: ...")
BY_ANOTHER = Stopped(("latency",), None, "gates: ...")


HELD_FOR = "The predictions of version 2 differ from its stable's."


def outcome(result: Result, reason: str = HELD_FOR, **told: str) -> Outcome:
    return Outcome(result, NAME, 2, "0" * 64, reason, document=told)


@pytest.mark.parametrize(
    ("stopped", "tried", "held_off"),
    [
        (BY_ITS_GATE, None, True),
        (BY_ITS_GATE, outcome(Result.HELD), True),
        (BY_ITS_GATE, outcome(Result.HELD, "It was not decided within 180 s."), False),
        (BY_ITS_GATE, outcome(Result.HELD, "The pipeline failed beside predictions."), False),
        (BY_ITS_GATE, outcome(Result.ROLLED_BACK), True),
        (BY_ITS_GATE, outcome(Result.ROLLED_BACK, by="roost drift"), True),
        (BY_ITS_GATE, outcome(Result.ROLLED_BACK, by="ada"), False),
        (BY_ITS_GATE, outcome(Result.ROLLED_BACK, ending="refused"), False),
        (BY_ITS_GATE, outcome(Result.PROMOTED), False),
        (BY_ITS_GATE, outcome(Result.FIRST), False),
        (BY_ANOTHER, outcome(Result.HELD), False),
        (None, outcome(Result.HELD), False),
    ],
)
def test_a_case_is_held_off_only_by_its_own_gate_and_by_the_server_where_one_tried_it(
    stopped: Stopped | None, tried: Outcome | None, held_off: bool
) -> None:
    assert command.document(case_named("shuffled-labels"), stopped, tried)["held_off"] is held_off


@pytest.fixture
def small(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command finds a small run of the example, and leaves its table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "work_of", lambda name, **given: replace(work, registry=given["registry"]))
    monkeypatch.setattr("sys.argv", ["poison", "--gates-only", "--rows", str(ROWS)])
    return tmp_path


def test_the_command_fails_and_names_what_got_through(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CASES", (NOTHING, case_named("leaked-label")))
    assert command.main() == 1
    said = capsys.readouterr()
    assert said.err == "poison: nothing got through\n"
    assert "nothing: GOT THROUGH" in said.out
    assert "leaked-label: held off" in said.out
    told = {one["case"]: one for one in json.loads((small / "build" / "poison.json").read_text())}
    assert (told["nothing"]["held_off"], told["leaked-label"]["gate"]["name"]) == (False, "leakage")


def test_a_case_that_never_came_to_the_gates_ends_in_one_line(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_ages(records: pa.Table) -> pa.Table:
        return records.drop_columns(["AGEP"])

    monkeypatch.setattr(command, "CASES", (Case("broken", "no ages", ("population",), without_ages),))
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert "poison: employment.AGEP (load 2015): expected a column" in capsys.readouterr().err


def test_every_case_is_tried_and_those_that_no_load_gives_away_everywhere() -> None:
    assert len(CASES) == len({case.name for case in CASES}) == 9
    assert sum(case.everywhere for case in CASES) == 3
    assert definition(NAME).tables[0].loads[0] == SPOILT_LOAD
