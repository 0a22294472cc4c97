"""`make reproduce`, short: two clones, one digest; three changes, three others, each named. And that it can fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.definition import definition
from pipelines.refusal import Refusal
from pipelines.reproducible import __main__ as command
from pipelines.reproducible.changes import changes_of, with_another_row
from pipelines.reproducible.clones import HERE, NOBODY, THERE, Circumstances, Clone, can_be_another, clone
from pipelines.reproducible.trials import Trial, Trials, is_named, named_causes
from tests.pipelines.records import FEW, ROWS, with_records

pytestmark = pytest.mark.patient  # mostly processes of its own, run beside the others

ROOT = Path(__file__).parents[3]
PARAMETERS = (f"snapshot.rows_max={ROWS}", *FEW, "train.trees.count=20")
ROW, PARAMETER, LINE = changes_of("employment")


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    """By name."""
    root = tmp_path_factory.mktemp("reproducible")
    downloads = with_records(root / "downloaded") / "data"
    tried = Trials("employment", root / "clones", downloads, PARAMETERS, True, lambda words: None)
    return {trial.name: trial for trial in tried.run()}


def test_another_place_home_user_zone_language_umask_hash_seed_and_number_of_threads_give_the_same_digest(
    trials: dict[str, Trial],
) -> None:
    assert trials["there"].holds, trials["there"].told
    assert trials["there"].digest == trials["here"].digest
    assert HERE.folder != THERE.folder
    assert HERE.variables.keys() == THERE.variables.keys()
    assert not set(HERE.variables.items()) & set(THERE.variables.items())
    assert (f"user {NOBODY}" in trials["there"].told) is can_be_another()


@pytest.mark.parametrize("change", [ROW, PARAMETER, LINE], ids=lambda change: change.part)
def test_each_change_gives_another_digest_and_the_lineage_names_it(change, trials: dict[str, Trial]) -> None:
    trial = trials[change.name]
    assert trial.holds, trial.told
    assert f"{change.part}: {change.named}" in trial.told


def test_no_two_changes_give_the_same_digest(trials: dict[str, Trial]) -> None:
    assert len({trial.digest for trial in trials.values()}) == len(trials) - 1  # here and there


def placed(root: Path, circumstances: Circumstances) -> Clone:
    """A clone that holds nothing yet."""
    made = Clone(root / "place" / "roost", circumstances)
    made.folder.mkdir(parents=True)
    made.home.mkdir()
    return made


def test_another_user_may_read_all_and_write_nothing_that_is_not_theirs(tmp_path: Path) -> None:
    if not can_be_another():
        pytest.skip("only root can become another user")
    place = str(ROOT / "pipelines")
    code = f"import os; print(os.getuid(), [os.access({place!r}, mode) for mode in (os.R_OK, os.W_OK)])"
    assert placed(tmp_path, THERE).run(["-c", code]) == f"{NOBODY} [True, False]\n"


def test_nothing_is_given_away_but_what_was_made_for_a_clone(tmp_path: Path) -> None:
    (tmp_path / THERE.folder).mkdir(parents=True)
    with pytest.raises(FileExistsError):
        clone(tmp_path, THERE, tmp_path / "none", working_tree=True)
    assert all(path.stat().st_uid == os.getuid() for path in tmp_path.rglob("*"))


def test_a_command_runs_in_the_circumstances_that_are_stated_and_nothing_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_PIPELINE_FOLDER", "/elsewhere")
    made = placed(tmp_path, HERE)
    said = made.run(["-c", "import os; print(dict(os.environ), len(os.sched_getaffinity(0)), oct(os.umask(0)))"])
    assert "ROOST_PIPELINE_FOLDER" not in said
    assert "'TZ': 'America/New_York'" in said
    assert f"'HOME': '{made.home}'" in said
    assert said.endswith(" 1 0o22\n")


def test_what_could_not_be_trained_is_refused_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"here: -c .* expected it to end well, got no such luck"):
        placed(tmp_path, HERE).run(["-c", "import sys; sys.exit('no such luck')"])


@pytest.mark.parametrize("name", ["employment", "flights"])
def test_the_row_that_is_changed_is_one_of_its_load_and_keeps_the_rules(name: str) -> None:
    row, _, _ = changes_of(name)
    named = {f"table {rules.name}, load {load}" for rules in definition(name).tables for load in rules.loads}
    assert row.named in named
    assert with_another_row(definition(name)).fetch is not definition(name).fetch


# --- It can fail -----------------------------------------------------------------------------------------------------
def difference(*changes: tuple[str, str]) -> dict[str, object]:
    return {"changes": [{"part": part, "name": name} for part, name in changes]}


def test_a_change_that_is_not_named_or_named_beside_another_cause_does_not_hold() -> None:
    ours = (PARAMETER.part, PARAMETER.named)
    follows = ("files", "model.onnx"), ("gates", "auc, measured")
    assert is_named(PARAMETER, named_causes(difference(ours, *follows)))
    assert not is_named(PARAMETER, named_causes(difference(*follows)))
    assert not is_named(PARAMETER, named_causes(difference(ours, ("code", LINE.named))))
    assert not is_named(PARAMETER, named_causes(difference((PARAMETER.part, "train.trees.count"))))


def test_the_command_fails_and_says_what_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [Trial("employment", "here", "ab" * 32, 1.0, True, "..."),
            Trial("employment", "there", "cd" * 32, 1.0, False, "ANOTHER, with ...")]  # fmt: skip
    monkeypatch.setattr(Trials, "run", lambda self: iter(told))
    assert command.main(["employment"]) == 1
    said = capsys.readouterr()
    assert said.err == "reproducible: employment, there: does not hold: ANOTHER, with ...\n"
    assert "cdcdcdcdcdcd" in said.out
    with pytest.raises(SystemExit, match="2"):
        command.main(["weather"])
