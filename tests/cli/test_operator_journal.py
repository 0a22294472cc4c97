"""`roost journal show` and `verify`, from a state folder and over the admin port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from protos.roost.v1 import admin_pb2
from server.cli.application import app
from server.lifecycle.journal import Head, next_line, read
from tests.cli.scripted_admin import ScriptedAdmin, scripted_admin


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["journal", *arguments])


def place(version: str, weight_ppm: int = 0, canary: str | None = None) -> dict[str, Any]:
    def artifact(number: str | None) -> dict[str, str] | None:
        return None if number is None else {"version": number, "digest": number * 64}

    return {"stable": artifact(version), "canary": artifact(canary), "weight_ppm": weight_ppm}


ENTRIES: list[dict[str, Any]] = [
    {"model": "churn", "revision": 1, "kind": "started", "at_utc": "2026-01-31T12:00:00.000Z",
     "from": {}, "to": place("3")},
    {"model": "churn", "revision": 2, "kind": "canary_started", "at_utc": "2026-01-31T14:00:00.000Z",
     "operator": "ada", "reason": "retrained", "from": place("3"), "to": place("3", 50_000, "4")},
    {"model": "fraud", "revision": 1, "kind": "started", "at_utc": "2026-01-31T14:01:00.000Z",
     "from": {}, "to": place("7")},
    {"model": "churn", "revision": 3, "kind": "promoted", "at_utc": "2026-01-31T15:00:00.000Z",
     "operator": "ada", "reason": "good", "from": place("3", 50_000, "4"), "to": place("4")},
]  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> Path:
    head, data = Head(), b""
    for entry in ENTRIES:
        line, head = next_line(head, entry)
        data += line
    (tmp_path / "journal.jsonl").write_bytes(data)
    return tmp_path


@pytest.fixture
def admin(state: Path) -> Iterator[ScriptedAdmin]:
    """A server whose journal lies in `state`."""
    lines = list(read((state / "journal.jsonl").read_bytes()))
    with scripted_admin() as server:
        server.answers["GetJournal"] = admin_pb2.GetJournalReply(
            entries=[
                admin_pb2.JournalEntry(
                    number=line.number, line=json.dumps({"entry": dict(line.entry), "number": line.number})
                )
                for line in lines
            ],
            head=f"{lines[-1].number}:{lines[-1].digest}",
            pending=1,
            path=str(state / "journal.jsonl"),
            served=[
                admin_pb2.ServedThen(
                    model="churn",
                    revision=2,
                    stable=admin_pb2.Artifact(version="3", digest="3" * 64),
                    canary=admin_pb2.Artifact(version="4", digest="4" * 64),
                    weight_ppm=50_000,
                )
            ],
        )
        yield server


def test_all_that_was_decided_is_shown_as_sentences(state: Path) -> None:
    result = run("show", "--state", str(state))
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert "4  churn  revision 3  2026-01-31T15:00:00.000Z" in lines[3]
    assert "by ada (good)" in lines[3]


def test_one_models_newest_are_shown(state: Path) -> None:
    result = run("show", "churn", "--limit", "2", "--state", str(state))
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["2", "4"]


def test_the_server_is_asked_where_no_folder_is_given(admin: ScriptedAdmin) -> None:
    result = run("show", "churn", "--limit", "7", "--admin", admin.address)
    assert result.exit_code == 0, result.stderr
    request = admin.asked[0][1]
    assert (request.model, request.limit) == ("churn", 7)
    assert "1 more are not on disk yet." in result.stdout
    assert "by ada (retrained)" in result.stdout


@pytest.mark.parametrize("source", ["folder", "server"])
def test_what_served_at_a_moment_is_told(state: Path, admin: ScriptedAdmin, source: str) -> None:
    where = ["--state", str(state)] if source == "folder" else ["--admin", admin.address]
    result = run("show", "churn", "--at", "2026-01-31T14:03:00Z", *where)
    assert result.stdout == (
        "churn: revision 2, stable version 3 (333333333333), canary version 4 (444444444444) with 5 %\n"
    )


def test_a_moment_before_the_first_entry_is_not_made_up(state: Path) -> None:
    result = run("show", "churn", "--at", "2025-01-31T14:03:00Z", "--state", str(state))
    assert result.stdout == "The journal knows nothing of churn at 2025-01-31T14:03:00Z.\n"


def test_what_is_no_moment_is_exit_code_2(state: Path) -> None:
    result = run("show", "--at", "noon", "--state", str(state))
    assert result.exit_code == 2
    assert "expected a time like 2026-01-31T14:03:00Z" in result.stderr


def test_json_is_the_same_from_folder_and_server(state: Path, admin: ScriptedAdmin) -> None:
    of_folder = json.loads(run("show", "--json", "--state", str(state)).stdout)
    of_server = json.loads(run("show", "--json", "--admin", admin.address).stdout)
    assert of_folder["entries"] == of_server["entries"]
    assert of_folder["head"] == of_server["head"]
    assert of_folder.keys() == of_server.keys()
    assert of_folder["entries"][1]["to"]["weight_ppm"] == 50_000


def test_a_model_that_the_journal_does_not_know_is_refused(state: Path) -> None:
    result = run("show", "nobody", "--state", str(state))
    assert result.exit_code == 1
    assert "expected one that the journal knows (churn, fraud), got 'nobody'" in result.stderr


def test_a_whole_journal_is_said_to_be_whole(state: Path, admin: ScriptedAdmin) -> None:
    for where in (["--state", str(state)], ["--admin", admin.address]):
        result = run("verify", *where)
        assert result.exit_code == 0, result.stderr
        assert "journal.jsonl: whole, 4 entries, head 4:" in result.stdout


def _edited(data: bytes) -> bytes:
    return data.replace(b"retrained", b"restrained")


def _removed(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join(lines[:1] + lines[2:])


def _moved(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([lines[0], lines[2], lines[1], lines[3]])


@pytest.mark.parametrize("damage", [_edited, _removed, _moved])
@pytest.mark.parametrize("command", ["verify", "show"])
def test_a_journal_that_was_tampered_with_is_exit_code_1_and_names_the_line(
    state: Path, damage: Any, command: str
) -> None:
    file = state / "journal.jsonl"
    file.write_bytes(damage(file.read_bytes()))
    result = run(command, "--state", str(state))
    assert result.exit_code == 1
    assert "journal: line 2: " in result.stderr
    assert result.stdout == ""


def test_lines_cut_off_at_the_end_are_found_by_the_servers_head_and_by_a_kept_one(
    state: Path, admin: ScriptedAdmin
) -> None:
    file = state / "journal.jsonl"
    lines = list(read(file.read_bytes()))
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:3]))
    kept = f"4:{lines[3].digest}"
    tag = f"{kept}:{lines[0].digest[:12]}"  # as the registry has it
    of_folder = ["--state", str(state), "--head"]
    for where in (["--admin", admin.address], [*of_folder, kept], [*of_folder, tag]):
        result = run("verify", *where)
        assert result.exit_code == 1
        assert "expected 4 lines, as the anchor says, got 3" in result.stderr
    assert run("verify", "--state", str(state)).exit_code == 0, "without a head nobody can tell"


def test_an_older_head_is_a_line_of_a_longer_journal(state: Path) -> None:
    lines = list(read((state / "journal.jsonl").read_bytes()))
    assert run("verify", "--state", str(state), "--head", f"2:{lines[1].digest}").exit_code == 0
    assert run("verify", "--state", str(state), "--head", f"2:{lines[2].digest}").exit_code == 1


def test_an_unfinished_last_line_is_no_tampering(state: Path) -> None:
    with (state / "journal.jsonl").open("ab") as file:
        file.write(b'{"digest": "')
    result = run("verify", "--state", str(state))
    assert result.exit_code == 0
    assert "A last line is unfinished, as a crash leaves it" in result.stdout


def test_verifying_as_json(state: Path) -> None:
    document = json.loads(run("verify", "--json", "--state", str(state)).stdout)
    assert document["entries"] == 4
    assert document["head"].startswith("4:")
    assert document["unfinished_line"] is False


def test_a_folder_without_a_journal_is_refused_with_what_to_do(tmp_path: Path) -> None:
    result = run("verify", "--state", str(tmp_path))
    assert result.exit_code == 1
    assert "expected a journal, got no such file or directory. On another machine: copy it here" in result.stderr


def test_a_server_without_a_journal_says_so(admin: ScriptedAdmin) -> None:
    admin.answers["GetJournal"] = admin_pb2.GetJournalReply()
    result = run("verify", "--admin", admin.address)
    assert result.exit_code == 1
    assert "got one that keeps none: it serves files only" in result.stderr
