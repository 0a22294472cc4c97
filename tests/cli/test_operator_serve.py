"""The operators' commands against a real `roost serve`: a canary's life, seen by operators and by callers."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

import roost
from benchmarks.servers import Served
from server.cli.application import app
from tests.cli.served_versions import MODEL, push_versions, row, scaled, serving

pytestmark = pytest.mark.timeout(240)  # the first start after a change compiles all kernels


class Operator:
    """Commands of one server."""

    def __init__(self, server: Served) -> None:
        self.server = server

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(
            app, [*arguments, "--admin", self.server.ready["admin"]], env={"ROOST_OPERATOR": "ada"}
        )

    def ask(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def state(self) -> Any:
        return self.ask("status", MODEL)["model"]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    folder = tmp_path_factory.mktemp("operated")
    registry, _ = push_versions(folder, [scaled(1), scaled(2), scaled(3)])
    with serving(registry, folder) as server:
        yield Operator(server)


def versions(client: roost.Client, count: int = 40, **options: Any) -> set[str]:
    """Who answered, each reply checked against the version that it claims."""
    seen = set()
    for _ in range(count):
        prediction = client.predict(MODEL, {"x": row(1)}, **options)
        assert prediction["y"][0, 0] == float(prediction.version), "a reply is of the version that it names"
        seen.add(prediction.version)
    return seen


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_a_canary_is_deployed_flipped_promoted_and_taken_back(operator: Operator) -> None:
    with roost.Client(operator.server.target, timeout_s=20) as client:
        assert versions(client) == {"1"}
        done = operator.run("canary", MODEL, "--version", "2", "--weight", "50%", "--reason", "twice as good")
        assert done.exit_code == 0, done.stderr
        assert "the canary, version 2, has 50 %." in done.stdout
        assert versions(client, 200) == {"1", "2"}

        rollout = operator.state()["rollout"]
        for number in range(20):
            position = roost.key_position(f"user-{number}", int(rollout["salt"]))
            expected = {"2"} if position < 500_000 else {"1"}
            assert versions(client, 2, routing_key=f"user-{number}") == expected

        operator.ask("weights", MODEL, "--canary", "100%")
        assert versions(client) == {"2"}
        operator.ask("weights", MODEL, "--canary", "0%")
        assert versions(client) == {"1"}
        promoted = operator.ask("promote", MODEL)["models"][0]
        assert (promoted["stable"]["version"], promoted["last_safe"]["version"]) == ("2", "1")
        assert versions(client) == {"2"}
        operator.ask("rollback", MODEL, "--reason", "not so good")
        assert versions(client) == {"1"}
    assert "by ada (not so good)" in operator.run("explain", MODEL).stdout


def test_a_shadow_answers_nobody_and_the_metrics_tell_how_it_fares(operator: Operator) -> None:
    def rows_run() -> float:
        with urllib.request.urlopen(f"http://{operator.server.ready['http']}/metrics", timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        shown = [line for line in lines if line.startswith("roost_shadow_rows{") and 'outcome="run"' in line]
        return float(shown[0].split()[-1]) if shown else -1.0

    assert rows_run() == -1.0, "there is none"
    operator.ask("shadow", MODEL, "--version", "3")
    with roost.Client(operator.server.target, timeout_s=20) as client:
        assert versions(client) == {"1"}
    wait_until(lambda: rows_run() > 0)
    operator.ask("shadow", MODEL, "--off")
    assert rows_run() == -1.0


def test_an_operation_asked_for_again_is_not_done_again(operator: Operator) -> None:
    arguments = ["freeze", MODEL, "--request-id", "freeze-1", "--reason", "quiet, please"]
    first, again = operator.ask(*arguments), operator.ask(*arguments)
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["models"][0]["revision"] == first["models"][0]["revision"] == operator.state()["revision"]
    assert operator.ask("unfreeze")["models"][0]["frozen"] is False


def test_a_stale_revision_is_refused_and_the_current_one_named(operator: Operator) -> None:
    revision = operator.state()["revision"]
    refused = operator.run("freeze", MODEL, "--if-revision", str(revision - 1))
    assert refused.exit_code == 1
    assert f"expected {revision}, the current one of {MODEL}, got {revision - 1}" in refused.stderr


def test_what_is_in_quarantine_is_refused_until_it_is_released(operator: Operator) -> None:
    digest = next(
        one["artifact"]["digest"]
        for one in operator.ask("status", MODEL)["versions"]
        if one["artifact"]["version"] == "3"
    )
    operator.ask("quarantine", digest[:12], "--reason", "leaked labels")
    refused = operator.run("canary", MODEL, "--version", "3", "--weight", "5%")
    assert refused.exit_code == 1
    assert "leaked labels" in refused.stderr
    assert operator.state()["quarantined"] == [{"digest": digest, "reason": "leaked labels"}]
    operator.ask("release", digest)
    assert operator.state()["quarantined"] == []


def test_events_and_journal_tell_the_same_decisions_and_the_journal_verifies(operator: Operator) -> None:
    decided = [entry["revision"] for entry in operator.ask("journal", "show", MODEL)["entries"]]
    assert decided == sorted(decided)
    told = [json.loads(line) for line in operator.run("events", MODEL, "--json").stdout.splitlines()]
    assert len([event for event in told if event["kind"] == "decision"]) == len(set(decided))
    assert operator.ask("journal", "verify")["entries"] == len(decided)


def test_going_home_works_with_the_control_process_dead_and_only_then(operator: Operator, tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    ready_file.write_text(json.dumps(dict(operator.server.ready)))
    operator.ask("canary", MODEL, "--version", "2", "--weight", "100%")
    refused = operator.run("rollback", MODEL, "--local", "--ready-file", str(ready_file))
    assert refused.exit_code == 1
    assert "the control process lives" in refused.stderr

    with roost.Client(operator.server.target, timeout_s=20) as client:
        assert versions(client) == {"2"}
        os.kill(operator.server.process.pid, signal.SIGSTOP)  # or it would start another control process at once
        try:
            os.kill(operator.server.ready["control"], signal.SIGKILL)
            wait_until(lambda: operator.run("status").exit_code == 3)
            done = operator.run(
                "rollback", MODEL, "--local", "--ready-file", str(ready_file), "--reason", "control is dead", "--json"
            )
            assert done.exit_code == 0, done.stderr
            home = json.loads(done.stdout)
            assert (home["version"], home["following"]) == ("1", True)
            assert versions(client) == {"1"}
        finally:
            os.kill(operator.server.process.pid, signal.SIGCONT)
    wait_until(lambda: operator.run("status", MODEL).exit_code == 0)
    assert operator.state()["canary"] is None
    wait_until(lambda: operator.ask("journal", "show", MODEL)["entries"][-1]["revision"] == home["revision"])
    last = operator.ask("journal", "show", MODEL)["entries"][-1]
    assert (last["operator"], last["reason"]) == ("ada", "control is dead")
    assert operator.run("journal", "verify").exit_code == 0
