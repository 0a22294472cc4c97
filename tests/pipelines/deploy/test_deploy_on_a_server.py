"""Deploying on real servers: a good version promoted, a bad one home, another one's answers held, and being cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.deploy.deploying import SERVING, deploy
from pipelines.deploy.golden_answers import check_answers
from pipelines.deploy.options import Options
from pipelines.deploy.outcome import Result
from pipelines.deploy.server import PID, serves_for
from pipelines.parameters import Deploy, Step
from pipelines.refusal import Refusal
from pipelines.stages import deploy as stage
from registry_client.cache import BundleCache
from registry_client.opening import open_registry
from server.drills.model import BAD_FROM_AGE, NAME, model_bytes
from server.drills.stack import Stack, local_stack
from tests.pipelines.deploy.deployed_world import LONG, Watched, World

pytestmark = pytest.mark.patient  # mostly processes of its own, run beside the others

ROOT = Path(__file__).parents[3]
RUN = """
import sys
from pathlib import Path
from rich.console import Console
from pipelines.deploy.golden_answers import check_answers
from pipelines.deploy.options import Options
from pipelines.refusal import Refusal
from pipelines.stages import deploy
from tests.pipelines.deploy.deployed_world import LONG, at
try:
    print(deploy.run(at(Path(sys.argv[1]), LONG), Options(own_server=True), Console(width=500, soft_wrap=True)))
except Refusal as refusal:
    sys.exit(str(refusal))
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of bundles: a server's own, which the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROOST_REGISTRY__CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="module")
def running(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with local_stack(tmp_path_factory.mktemp("stack"), world.versions.registry, {}) as stack:
        yield stack


def at(stack: Stack) -> Options:
    return Options(admin=stack.ready["admin"], target=stack.ready["listen"], traffic="always")


def attached(world: World, version: str) -> list[dict[str, Any]]:
    found = open_registry(str(world.versions.registry)).attachments(NAME, int(version))
    return [json.loads(found[name]) for name in sorted(found) if name.startswith("rollout-")]


def test_the_first_version_takes_all_traffic_and_its_server_is_ended(world: World) -> None:
    work, view = world.work("1"), Watched()
    told = stage.run(work, Options(own_server=True))
    assert "first version. It takes all traffic" in told
    assert "golden examples as recorded" in told
    assert not (work.folder / SERVING / PID).exists()
    again = deploy(work, Options(own_server=True), view)
    assert again.result is Result.STABLE_ALREADY
    assert view.said == []  # no server was started


def test_a_good_version_is_promoted_under_recorded_traffic(world: World, running: Stack) -> None:
    version = world.push(model_bytes(bias=0.01))
    view = Watched()
    outcome = deploy(world.work(version), at(running), view)
    assert outcome.result is Result.PROMOTED, outcome.line
    assert "Not worse than the stable beside it" in outcome.reason
    (document,) = attached(world, version)
    assert document == json.loads((world.folder / "work" / "beside" / "rollout.json").read_text())
    assert [entry["kind"] for entry in document["journal"]][-1] == "promoted"
    assert document["traffic"]["errors"] == {}
    assert set(document["traffic"]["replies"]) == {"1", version}
    canary = sum(epoch["canary"]["requests"] for epoch in document["evidence"]["epochs"])
    assert canary >= 4000
    stable = open_registry(str(world.versions.registry)).resolve(NAME, "@stable")
    assert str(stable.version) == version


def test_a_version_that_answers_nan_goes_home_with_the_reason_in_words(world: World, running: Stack) -> None:
    version = world.push(model_bytes(bias=0.02, nan_from_age=BAD_FROM_AGE))
    with pytest.raises(Refusal) as caught:
        stage.run(world.work(version), at(running))
    assert "rolled back: Version" in str(caught.value)
    assert "by non-finite outputs: rolled back at E >= 100" in str(caught.value)
    (document,) = attached(world, version)
    assert document["result"] == "rolled back"
    with pytest.raises(Refusal, match="not in quarantine"):  # a rerun is told at once
        stage.run(world.work(version), at(running))


def test_a_version_with_other_answers_is_held_and_taken_back(world: World, running: Stack) -> None:
    version = world.push(model_bytes(bias=1.0))
    plan = Deploy(steps=(Step(weight=0.5, seconds=30, requests=100),), rows_per_s=400, timeout_s=60)
    outcome = deploy(world.work(version, plan), at(running), Watched())
    assert outcome.result is Result.HELD, outcome.line
    assert f"The predictions of version {version} differ from its stable's" in outcome.reason
    assert "It was taken back" in outcome.done
    state = running.state()
    assert not state.HasField("canary")
    (document,) = attached(world, version)
    assert document["drift"]["whose"] == "model"


def test_answers_of_another_digest_and_a_port_where_nobody_answers_are_told_apart(
    world: World, running: Stack, tmp_path: Path
) -> None:
    registry = open_registry(str(world.versions.registry))
    untried = registry.resolve(NAME, int(world.push(model_bytes(bias=0.5))))
    stable = registry.resolve(NAME, "@stable")
    target, cache = running.ready["listen"], BundleCache(tmp_path)
    assert "answers 1 golden examples as recorded" in check_answers(target, registry.fetch(stable, cache))
    with pytest.raises(Refusal, match=f"expected answers of digest {untried.digest[:12]}"):
        check_answers(target, registry.fetch(untried, cache))
    with pytest.raises(Refusal, match="Name the port of its predictions: --target"):
        check_answers("127.0.0.1:1", registry.fetch(stable, cache))


# --- Cut off ---------------------------------------------------------------------------------------------------------
def _begun(world: World) -> tuple[subprocess.Popen[str], str]:
    """A run with a server of its own, as far as its canary has traffic, and what it said until then."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(world.folder)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "recorded traffic, " in line:
            return process, said
    raise AssertionError(said)


def test_a_run_after_a_killed_one_joins_its_rollout_and_takes_the_canary_back_when_it_is_interrupted(
    world: World,
) -> None:
    work = world.work(world.push(model_bytes(bias=0.03)), LONG, folder="cut")
    killed, _ = _begun(world)
    (serving,) = (work.folder / SERVING).glob("*/")
    server = int((serving / PID).read_text())
    killed.kill()
    killed.communicate(timeout=60)
    assert serves_for(server, serving)
    joined, said = _begun(world)
    assert "going on with the server of a run that was killed" in said
    assert "fetched and verified" not in said  # it was not deployed again
    joined.send_signal(signal.SIGINT)
    said, _ = joined.communicate(timeout=60)
    assert joined.returncode == 1
    assert "got SIGINT" in said
    assert "It was taken back: version" in said
    assert not serves_for(server, serving)
    document = json.loads((work.beside / "rollout.json").read_text())
    kinds = [entry["kind"] for entry in document["journal"]]
    assert (kinds[0], kinds.count("canary_deployed"), document["result"]) == ("canary_deployed", 1, "held")
