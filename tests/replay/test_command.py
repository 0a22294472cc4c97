"""`roost replay`: what it prints, as text and as JSON, what it refuses and how, and what its help teaches."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from server.cli.application import app
from server.settings import DriftSettings
from tests.replay.made import (
    HOUR_US,
    MINUTE_US,
    MONDAY_US,
    SECOND_US,
    bundle_in,
    file_in,
    normal,
    roost,
    times,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
A_SECOND = 4
HOUR = 3600 * A_SECOND
ROWS = 3 * HOUR
OFF = ("--set", "drift.season=off", "--set", "drift.days_without_false_alarm=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("command")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    return bundle_in(folder / "bundle")


@pytest.fixture(scope="module")
def rows(folder: Path) -> Path:
    """Three hours; in the last one the first column has moved."""
    x = normal(ROWS, 3)
    x[2 * HOUR :, 0] += 1.0
    keys = np.random.default_rng(4).integers(0, 2000, ROWS)
    return file_in(folder, x, at=times(ROWS, step_us=SECOND_US // A_SECOND), customer=keys)


def test_a_shift_is_told_with_its_feature_its_window_and_what_the_policy_asks_for(bundle: Path, rows: Path) -> None:
    found = roost(bundle, rows, "--time", "at", "--key", "customer", *OFF, "--set", "drift.inputs=hold")
    assert found.code == 0
    assert found.error == ""
    assert "43,200 rows, 2026-09-28 00:00:00 to 2026-09-28 02:59:59 UTC" in found.text
    assert "Each hour, in UTC" in found.text
    lines = [line.split() for line in found.text.splitlines()]
    assert any("drift" in line and "height" in line and "1" in line for line in lines), "the third hour"
    assert any(line[2:] == ["hold", "inputs", "minute", "height"] for line in lines)
    assert re.search(r"First alarm: inputs, the minute until 2026-09-28 02:\d\d:\d\d\. Moved: height", found.text)
    assert "What the policy would have asked for" in found.text


def test_the_document_has_the_timeline_the_totals_and_the_alarms(bundle: Path, rows: Path) -> None:
    found = roost(bundle, rows, "--time", "at", *OFF, "--window", "minute", "--json").document()
    assert (found["model"], found["rows"]) == ("scaled", ROWS)
    assert (found["start_utc"], found["end_utc"]) == ("2026-09-28T00:00:00Z", "2026-09-28T02:59:59Z")
    assert found["settings"] == DriftSettings(season="off", days_without_false_alarm=1.0).model_dump()
    assert len(found["timeline"]) == 2 * 180
    assert {one["window"] for one in found["timeline"]} == {"minute"}
    totals = {(one["signal"], one["window"]): one for one in found["totals"]}
    assert len(totals) == 8
    minutes = totals["inputs", "minute"]
    assert minutes["windows"] == 180 == minutes["quiet"] + minutes["drift"] + minutes["not_enough"]
    assert minutes["moved"] == {"height": minutes["drift"]}
    assert minutes["rule_of_thumb"]["0.1"] >= minutes["drift"] > 50
    alarm = found["first_alarm"]
    assert alarm["signal"] == "inputs"
    assert [feature["name"] for feature in alarm["moved"]] == ["height"]
    assert alarm["log_r"] >= alarm["log_threshold"]
    assert [one["response"] for one in found["asked"]].count("alert") == len(found["asked"]) >= 1
    assert "2026-09-28T02:" in found["asked"][0]["at_utc"]


def test_it_stops_at_the_first_alarm_where_it_is_told_to(bundle: Path, rows: Path) -> None:
    whole = roost(bundle, rows, "--time", "at", *OFF, "--json").document()
    found = roost(bundle, rows, "--time", "at", *OFF, "--until-first", "--json").document()
    assert found["end_utc"] > found["start_utc"]
    assert found["first_alarm"] == whole["first_alarm"]
    assert len(found["asked"]) == 1
    assert found["totals"][0]["windows"] < whole["totals"][0]["windows"]
    assert "Stopped at the first alarm" in roost(bundle, rows, "--time", "at", *OFF, "--until-first").text


def test_traffic_like_the_reference_is_quiet_and_said_to_be(bundle: Path, tmp_path: Path) -> None:
    rows = file_in(tmp_path, normal(7200, 9), at=times(7200))
    found = roost(bundle, rows, "--time", "at", *OFF)
    assert found.code == 0
    assert "No alarm." in found.text
    assert "What the policy would have asked for" not in found.text


def test_windows_that_say_the_same_are_one_line(bundle: Path, tmp_path: Path) -> None:
    rows = file_in(tmp_path, normal(20 * 200, 9), at=times(20 * 200, step_us=MINUTE_US // 200))
    found = roost(bundle, rows, "--time", "at", *OFF, "--window", "minute")
    timeline = [line.split() for line in found.text.splitlines() if line.startswith("  2026-")]
    said = ["2026-09-28", "00:00:00", "2026-09-28", "00:20:00"]
    assert timeline == [[*said, signal, "quiet", "20", "4,000"] for signal in ("inputs", "predictions")]


def test_rows_without_times_get_a_clock_that_begins_where_it_is_told_to(bundle: Path, tmp_path: Path) -> None:
    rows = file_in(tmp_path, normal(1000, 9))
    found = roost(bundle, rows, "--rows-per-second", "10", "--start", "2026-09-28T06:00", "--json").document()
    assert (found["start_utc"], found["end_utc"]) == ("2026-09-28T06:00:00Z", "2026-09-28T06:01:39Z")
    monday = roost(bundle, rows, "--rows-per-second", "10", "--json").document()
    assert monday["start_utc"] == "2001-01-01T00:00:00Z"


def test_a_model_of_a_registry_is_replayed_by_its_name(bundle: Path, rows: Path, tmp_path: Path) -> None:
    from registry_client.opening import open_registry

    open_registry(str(tmp_path / "registry"), must_exist=False).push(bundle, aliases=("stable",))
    arguments = ("--registry", tmp_path / "registry", "--time", "at", "--until-first", *OFF, "--json")
    assert roost("scaled@stable", rows, *arguments).document()["model"] == "scaled:1"
    assert "expected" in roost("scaled@canary", rows, *arguments).refusal()


def test_settings_come_from_the_file_and_the_command_line_wins(
    bundle: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "roost.toml"
    config.write_text("[drift]\ntau = 0.3\nrows_min = 50\nseason = 'off'\n")
    monkeypatch.setenv("ROOST_DRIFT__ROWS_MIN", "40")
    found = roost(
        bundle, rows, "--time", "at", "--config", config, "--set", "drift.tau=0.2", "--until-first", "--json"
    ).document()
    assert (found["settings"]["tau"], found["settings"]["rows_min"]) == (0.2, 40)
    assert found["settings"]["season"] == "off"


# --- Refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--time", "at", "--set", "tau=0.2"), "--set: expected drift.KEY=VALUE, got 'tau=0.2'. For example: "),
        (("--time", "at", "--set", "drift.tau"), "--set: expected drift.KEY=VALUE, got 'drift.tau'."),
        (("--time", "at", "--set", "limits.slots_max=4"), "--set: expected drift.KEY=VALUE, got "),
        (("--time", "at", "--set", "drift.taw=1"), "drift.taw: no such key (by a flag). Did you mean tau?"),
        (("--time", "at", "--set", "drift.tau=0"), 'drift.tau: expected 0.01 to 10, got "0" (by a flag).'),
        (("--time", "at", "--rows-per-second", "5"), "--rows-per-second: expected no --time beside it, got both."),
        (("--rows-per-second", "0"), "--rows-per-second: expected a number above 0, got 0."),
        (("--time", "at", "--start", "2026-01-01"), "--start: expected --rows-per-second beside it, got none."),
        (("--time", "at", "--recorded"), "--recorded: expected no --time beside it, got both."),
        (("--time", "at", "--config", "nowhere.toml"), "--config: expected a readable file, got nowhere.toml: "),
    ],
)
def test_a_command_line_that_is_wrong_is_one_line_and_code_2(
    bundle: Path, rows: Path, arguments: tuple[str, ...], line: str
) -> None:
    assert roost(bundle, rows, *arguments).refusal(2).startswith(line)


def test_what_can_not_be_replayed_is_one_line_and_code_1(bundle: Path, rows: Path, tmp_path: Path) -> None:
    assert roost(bundle, rows).refusal().startswith("--time: expected the column that says when each row came, got")
    assert "nothing there" in roost(tmp_path / "none", rows, "--time", "at").refusal()
    assert roost(bundle, tmp_path / "none.parquet", "--time", "at").refusal() == (
        f"{tmp_path}/none.parquet: No such file or directory."
    )
    assert "expected a recording, for --recorded" in roost(bundle, rows, "--recorded").refusal()
    assert "--start: expected a date or a time" in roost(
        bundle, rows, "--rows-per-second", "1", "--start", "soon"
    ).refusal()


def test_a_bundle_without_a_baseline_says_how_to_make_one(rows: Path, tmp_path: Path) -> None:
    from benchmarks.swaps.versions import scaled
    from registry_client.bundle import write_bundle
    from registry_client.onnx_model import read_onnx
    from registry_client.reference_run import record_golden

    model = read_onnx(scaled(2))
    golden = record_golden(model, rows=2)
    write_bundle(tmp_path / "bare", name="scaled", model_bytes=model.model_bytes, golden=golden)
    assert roost(tmp_path / "bare", rows, "--time", "at").refusal() == (
        "scaled: expected a bundle with a baseline, got one without. "
        "Bundle the model anew: roost bundle --reference FILE.parquet."
    )


def test_a_reference_that_is_too_small_for_tau_is_refused_with_the_rows_it_takes(rows: Path, tmp_path: Path) -> None:
    small = bundle_in(tmp_path / "small", normal(1_500, 1))
    line = roost(small, rows, "--time", "at", "--set", "drift.tau=0.01").refusal()
    assert re.search(r"inputs can't be judged: reference of \w+: expected at least 1[\d,]+ rows for its \d+ bins", line)


def test_the_help_teaches_with_examples() -> None:
    text = roost("--help").text
    examples = ("--time seen_at --key customer", "--set drift.tau=0.2", "--rows-per-second 50", "--recorded --json")
    for example in examples:
        assert example in text
    assert text.count("roost replay ") >= 5


def test_an_hour_that_is_not_whole_is_marked(bundle: Path, tmp_path: Path) -> None:
    rows = file_in(tmp_path, normal(1000, 9), at=times(1000, MONDAY_US + HOUR_US // 2))
    found = roost(bundle, rows, "--time", "at", *OFF, "--json").document()
    assert [one["whole"] for one in found["timeline"]] == [False, False]


# --- Pages ----------------------------------------------------------------------------------------------------------
def test_the_page_of_commands_has_every_option_and_no_other() -> None:
    section = (DOCS / "reference/commands.md").read_text().split("## Replay\n")[1].split("\n## ")[0]
    told = set(re.findall(r"`(--[a-z-]+)", "\n".join(re.findall(r"^\| (`--.*?) \|", section, re.M))))
    group: Any = typer.main.get_command(app)
    options = {flag for one in group.commands["replay"].params for flag in one.opts if flag.startswith("--")}
    assert told == options


@pytest.mark.parametrize("page", ["guides/tune-drift-by-replay.md"])
def test_a_command_on_the_guide_is_one_that_the_command_line_takes(page: str) -> None:
    group: Any = typer.main.get_command(app)
    written = re.findall(r"^\$ (?:\.venv/bin/)?roost (replay .+)$", (DOCS / page).read_text(), re.M)
    assert len(written) >= 4
    for line in written:
        arguments = shlex.split(line.partition(" | ")[0])
        context = group.make_context("roost", list(arguments))
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        command.make_context(name, rest, parent=context)
