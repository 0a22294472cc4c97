"""`roost lineage`, as it is typed: of versions and of folders, with a journal or without, as text, JSON and a page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from click.testing import Result
from typer.testing import CliRunner

from protos.roost.v1 import admin_pb2
from registry_client.folder import FolderRegistry
from server.cli.lineage import JOURNAL_LIMIT, lineage
from server.lifecycle.journal import Head, next_line
from tests.cli.scripted_admin import ScriptedAdmin, scripted_admin
from tests.registry_client.lineage.made_versions import MODEL, journal, registry_of_three

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/lineage.md").read_text()
Roost = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FolderRegistry]:
    """Three versions: the folder has `registry`, `bundle-1` to `bundle-3` and `state`. Read by tests, never changed."""
    folder = tmp_path_factory.mktemp("made")
    registry = registry_of_three(folder)
    head, content = Head(), b""
    for entry in journal(registry):
        line, head = next_line(head, {key: value for key, value in entry.items() if key not in ("number", "told")})
        content += line
    (folder / "state").mkdir()
    (folder / "state" / "journal.jsonl").write_bytes(content)
    return folder, registry


@pytest.fixture
def roost(made: tuple[Path, FolderRegistry], monkeypatch: pytest.MonkeyPatch) -> Roost:
    """`roost lineage ...` in the folder of `made`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command("lineage")(lineage)
    monkeypatch.chdir(made[0])
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture
def server(made: tuple[Path, FolderRegistry]) -> Iterator[ScriptedAdmin]:
    """A server whose journal is that of `made`."""
    entries = [
        admin_pb2.JournalEntry(
            number=entry["number"], line=json.dumps({"entry": {k: v for k, v in entry.items() if k != "told"}})
        )
        for entry in journal(made[1])
    ]
    with scripted_admin() as server:
        server.answers["GetJournal"] = admin_pb2.GetJournalReply(entries=entries, head="6:x", path="/s/journal.jsonl")
        yield server


def of_json(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refusal(result: Result, code: int = 1) -> str:
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("target", "version"),
    [("churn", 2), ("churn@stable", 2), ("churn@canary", 3), ("churn:1", 1), ("churn@1", 1), ("churn@3", 3)],
)
def test_a_version_is_named_by_alias_or_number_however_it_is_written(roost: Roost, target: str, version: int) -> None:
    assert of_json(roost(target, "--registry", "registry", "--json"))["version"] == version


def test_text_json_and_page_tell_the_same_digest(roost: Roost, tmp_path: Path) -> None:
    digest = of_json(roost("churn", "--registry", "registry", "--json"))["digest"]
    assert f"digest  {digest}" in roost("churn", "--registry", "registry").stdout
    result = roost("churn", "--registry", "registry", "--html", tmp_path / "churn.html")
    assert result.stdout == f"{tmp_path / 'churn.html'}: lineage of churn:2, digest {digest}\n"
    assert digest in (tmp_path / "churn.html").read_text()


def test_the_journal_is_read_from_a_state_folder_or_asked_of_a_server(roost: Roost, server: ScriptedAdmin) -> None:
    of_state = of_json(roost("churn:2", "--registry", "registry", "--state", "state", "--json"))["served"]
    of_server = of_json(roost("churn:2", "--registry", "registry", "--admin", server.address, "--json"))["served"]
    assert of_state["intervals"] == of_server["intervals"]
    assert of_state["promotions"][0]["operator"] == "ada"
    assert [entry["number"] for entry in of_state["entries"]] == [2, 3, 4]
    assert of_state["entries"][2]["told"].startswith("2026-01-31T15:00:00.000Z: version 2 was promoted")
    [(method, request)] = server.asked
    assert (method, request.model, request.limit) == ("GetJournal", MODEL, JOURNAL_LIMIT)


def test_without_either_it_is_said_that_no_journal_was_asked(roost: Roost) -> None:
    assert "no journal was asked: give --admin HOST:PORT, or --state" in roost("churn", "--registry", "registry").stdout
    assert of_json(roost("churn", "--registry", "registry", "--json"))["served"] is None


def test_a_servers_newest_entries_are_not_taken_for_all(roost: Roost, server: ScriptedAdmin) -> None:
    entry = server.answers["GetJournal"].entries[0]
    server.answers["GetJournal"].entries.extend([entry] * (JOURNAL_LIMIT - 6))
    found = of_json(roost("churn", "--registry", "registry", "--admin", server.address, "--json"))
    assert found["served"]["whole"] is False


def test_a_server_that_keeps_no_journal_is_refused_by_address(roost: Roost, server: ScriptedAdmin) -> None:
    server.answers["GetJournal"] = admin_pb2.GetJournalReply()
    error = refusal(roost("churn", "--registry", "registry", "--admin", server.address))
    assert "expected a server with a journal, got one that serves files only" in error


def test_a_server_that_is_down_is_exit_code_3(roost: Roost) -> None:
    error = refusal(roost("churn", "--registry", "registry", "--admin", "127.0.0.1:1"), 3)
    assert "127.0.0.1:1: expected the admin port, got none" in error


def test_a_state_folder_without_a_journal_is_refused(roost: Roost) -> None:
    assert "expected a journal" in refusal(roost("churn", "--registry", "registry", "--state", "bundle-1"))


def test_a_journal_that_was_edited_is_refused(roost: Roost, made: tuple[Path, FolderRegistry], tmp_path: Path) -> None:
    content = (made[0] / "state" / "journal.jsonl").read_text()
    (tmp_path / "journal.jsonl").write_text(content.replace("ada", "eve"))
    assert "Nothing after it can be relied on" in refusal(roost("churn", "--registry", "registry", "--state", tmp_path))


def test_a_bundles_folder_needs_no_registry(roost: Roost) -> None:
    found = of_json(roost("bundle-3", "--state", "state", "--json"))
    assert (found["name"], found["version"]) == (MODEL, None)
    assert [one["place"] for one in found["served"]["intervals"]] == ["canary"]
    assert found["missing"]["provenance"].startswith("not recorded: a bundle's folder")


def test_a_model_without_a_registry_is_told_which_flag_is_missing(roost: Roost) -> None:
    assert "roost lineage churn --registry FOLDER|URI" in refusal(roost("churn"))


def test_a_damaged_bundle_is_refused(roost: Roost, made: tuple[Path, FolderRegistry], tmp_path: Path) -> None:
    for file in (made[0] / "bundle-1").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "card.md").write_bytes(b"# Forged\n")
    assert "card.md: expected" in refusal(roost(tmp_path))


@pytest.mark.parametrize(
    "arguments",
    [
        ("churn", "--diff", "2", "3", "--registry", "registry"),
        ("churn", "--diff", "stable", "@canary", "--registry", "registry"),
        ("churn", "--diff", "churn:2", "churn@3", "--registry", "registry"),
        ("--diff", "churn:2", "churn@canary", "--registry", "registry"),
        ("--diff", "bundle-2", "bundle-3"),
        ("--diff", "churn:2", "./bundle-3", "--registry", "registry"),
    ],
)
def test_what_differs_between_two_is_named_however_they_are_named(roost: Roost, arguments: tuple[str, ...]) -> None:
    found = of_json(roost(*arguments, "--json"))
    assert not found["same"]
    assert found["model_bytes_differ"]
    assert "table churn, load 2018" in [change["name"] for change in found["changes"]]
    assert "table churn, load 2018" in roost(*arguments).stdout


def test_a_version_does_not_differ_from_itself(roost: Roost) -> None:
    result = roost("churn", "--diff", "2", "stable", "--registry", "registry")
    assert result.stdout.endswith("They are the same bundle: nothing in it differs.\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected a model or a bundle's folder, got none"),
        (("churn", "--registry", "registry", "--html", "x.html", "--json"), "expected --html or --json, got both"),
        (("churn", "--admin", "127.0.0.1:1", "--state", "state"), "expected --admin or --state, got both"),
        (("churn", "--diff", "1", "2"), "expected --registry and a model's bare name"),
        (("churn:1", "--diff", "1", "2", "--registry", "registry"), "expected --registry and a model's bare name"),
        (("--diff", "bundle-1", "bundle-2", "--state", "state"), "expected it alone or with --json"),
        (("--diff", "bundle-1", "bundle-2", "--html", "x.html"), "expected it alone or with --json"),
        (("churn", "--registry", "registry", "--admin", "nowhere"), "expected host:port, port 0 to 65535"),
    ],
)
def test_flags_that_do_not_fit_are_exit_code_2(roost: Roost, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in " ".join(re.sub(r"[│╭╮╰╯─]", "", refusal(roost(*arguments), 2)).split())


@pytest.mark.parametrize("target", ["churn:9", "churn@blue", "fraud", "churn@v3", "churn:stable"])
def test_what_the_registry_does_not_have_is_one_line(roost: Roost, target: str) -> None:
    assert refusal(roost(target, "--registry", "registry")).count("\n") == 1


def test_a_registry_that_is_none_is_one_line(roost: Roost) -> None:
    assert "--registry: expected a registry's folder" in refusal(roost("churn", "--registry", "nowhere"))


def test_a_page_that_cannot_be_written_is_one_line(roost: Roost) -> None:
    assert "No such file" in refusal(roost("churn", "--registry", "registry", "--html", "no/such/place.html"))


# --- The reference page ---------------------------------------------------------------------------------------------
def rows(title: str) -> dict[str, str]:
    body = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", body, re.M))


def test_the_page_has_every_option_and_no_other() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(lineage)
    command: Any = typer.main.get_command(app)
    options = {flag for one in command.params for flag in one.opts if flag.startswith("--")}
    assert {re.findall(r"--[a-z]+", row)[0] for row in rows("Options")} == options - {"--help"}


def test_the_page_has_every_key_of_the_json(roost: Roost) -> None:
    found = of_json(roost("churn", "--registry", "registry", "--state", "state", "--json"))
    told = rows("JSON")
    assert {key for key in told if "." not in key} == found.keys()
    for part in ("provenance", "served"):
        assert {key.partition(".")[2] for key in told if key.startswith(f"{part}.")} == found[part].keys()


def test_the_page_has_every_key_of_a_differences_json(roost: Roost) -> None:
    found = of_json(roost("churn", "--diff", "1", "2", "--registry", "registry", "--json"))
    assert rows("JSON of a difference").keys() == found.keys()
