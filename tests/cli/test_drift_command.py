"""`roost drift`: features in order of concern, one feature drawn, and what it says where there is nothing to see."""

from __future__ import annotations

import json
import re

from protos.roost.v1 import admin_pb2
from tests.cli.scripted_admin import STABLE, ScriptedAdmin, run

AGE = admin_pb2.FeatureDrift(
    name="age", weight=0.75, rows=8000, effective_rows=4000, psi=0.41, psi_debiased=0.4, standard_error=0.02,
    rule_of_thumb="large", log_e=50.0, moved=True,
)  # fmt: skip
ODD = admin_pb2.FeatureDrift(
    name="[red]sex[/red]", weight=0.25, rows=8000, effective_rows=8000, psi=0.001, psi_debiased=-0.0001,
    standard_error=0.001, rule_of_thumb="stable", log_e=-1.0,
)  # fmt: skip


def window(**changes: object) -> admin_pb2.DriftWindow:
    fields = {
        "signal": "inputs", "length": "hour", "end_utc": "2026-11-24T14:00:00.000Z", "verdict": "drift",
        "why": "Moved: age.", "rows": 8000, "features": [AGE, ODD],
    }  # fmt: skip
    return admin_pb2.DriftWindow(**{**fields, **changes})  # type: ignore[arg-type]


def reply(*windows: admin_pb2.DriftWindow, **fields: object) -> admin_pb2.GetDriftReply:
    return admin_pb2.GetDriftReply(model="churn", artifact=STABLE, rows_between=1, windows=windows, **fields)  # type: ignore[arg-type]


def counts(name: str = "age") -> admin_pb2.FeatureCounts:
    bins = ["below 0", "0 to 40", "above 40", "missing"]
    return admin_pb2.FeatureCounts(
        signal="inputs", name=name, bins=bins, reference=[0, 600, 400, 0], window=[0, 10, 80, 10]
    )


def test_features_are_shown_in_the_order_of_concern_with_bars(admin: ScriptedAdmin) -> None:
    admin.answers["GetDrift"] = reply(window())
    result = run(admin.address, "drift", "churn")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert lines[0] == "churn, version 3: inputs of the hour until 2026-11-24T14:00:00.000Z, 8,000 rows"
    assert lines[1] == "drift: Moved: age."
    age, odd = (next(line for line in lines if line.startswith(name)) for name in ("age", "[red]sex"))
    assert re.split(" {2,}", age) == [
        "age", "0.410", "█" * 12, "0.400", "0.020", "large", "4,000", "10^22", "75.0%",
    ]  # fmt: skip
    assert re.split(" {2,}", odd)[0] == "[red]sex[/red]", "names are no markup"
    assert lines.index(age) < lines.index(odd)


def test_another_length_is_named_where_there_is_no_window_of_this_one(admin: ScriptedAdmin) -> None:
    admin.answers["GetDrift"] = reply(window(length="minute"))
    assert run(admin.address, "drift", "churn").stdout == (
        "churn, version 3: no whole hour yet. Ask for --window minute.\n"
    )
    assert "8,000 rows" in run(admin.address, "drift", "churn", "--window", "minute").stdout


def test_the_reason_is_said_where_nothing_is_seen(admin: ScriptedAdmin) -> None:
    admin.answers["GetDrift"] = reply(reason="its bundle has no baseline.json")
    assert run(admin.address, "drift", "churn").stdout == "churn: its bundle has no baseline.json\n"


def test_a_sample_of_rows_is_never_silent(admin: ScriptedAdmin) -> None:
    answer = reply(window())
    answer.rows_between = 3
    admin.answers["GetDrift"] = answer
    assert "One row of 3 is counted" in run(admin.address, "drift", "churn").stdout


def test_a_canarys_predictions_are_shown_beside_the_stables(admin: ScriptedAdmin) -> None:
    artifact = admin_pb2.Artifact(version="4", digest="f" * 64)
    score = admin_pb2.CanaryFeature(
        name="score", psi=0.52, psi_debiased=0.2, standard_error=0.03, phi=1.5, log_e=9.0, moved=True
    )
    differs = admin_pb2.CanaryDrift(
        artifact=artifact, whose="model", why="Only the canary shows it.", canary_rows=1200, stable_rows=22800,
        log_e=9.0, log_threshold=4.6, features=[score],
    )  # fmt: skip
    admin.answers["GetDrift"] = reply(window(), canary=differs)
    lines = [line.strip() for line in run(admin.address, "drift", "churn").stdout.splitlines() if line.strip()]
    first = lines.index("canary, version 4: predictions beside the stable's, 1,200 rows beside 22,800")
    assert lines[first + 1] == "the model's: Only the canary shows it."
    assert re.split(" {2,}", lines[-1]) == ["score", "0.520", "█" * 6, "0.200", "0.030", "1.5", "8.1e+03"]
    nothing = admin_pb2.CanaryDrift(artifact=artifact, reason="Its bundle has no baseline.")
    admin.answers["GetDrift"] = reply(reason="No window has ended yet.", canary=nothing)
    assert run(admin.address, "drift", "churn").stdout == (
        "churn: No window has ended yet.\n"
        "canary, version 4: predictions beside the stable's: Its bundle has no baseline.\n"
    )


def test_a_feature_is_drawn_beside_its_reference(admin: ScriptedAdmin) -> None:
    admin.answers["GetDrift"] = reply(window(), counts=[counts(), counts("sex")])
    result = run(admin.address, "drift", "churn", "--feature", "age")
    assert admin.asked[-1][1].counts_of == "hour"
    rows = [re.split(" {2,}", line.strip()) for line in result.stdout.splitlines() if "%" in line]
    assert rows == [
        ["below 0", "0.0%", "0.0%"],
        ["0 to 40", "60.0%", "█" * 9, "10.0%", "██"],
        ["above 40", "40.0%", "█" * 6, "80.0%", "█" * 12],
        ["missing", "0.0%", "10.0%", "██"],
    ]


def test_a_feature_that_is_not_there_names_those_that_are(admin: ScriptedAdmin) -> None:
    admin.answers["GetDrift"] = reply(window(), counts=[counts(), counts("sex")])
    result = run(admin.address, "drift", "churn", "--feature", "agee")
    assert result.exit_code == 1
    assert result.stderr == "roost: feature: expected one of age, sex, got 'agee'. See roost drift.\n"


def test_a_feature_of_a_model_without_a_baseline_says_why_there_is_none(admin: ScriptedAdmin) -> None:
    admin.answers["GetDrift"] = reply(reason="its bundle has no baseline.json")
    result = run(admin.address, "drift", "churn", "--feature", "age")
    assert (result.exit_code, result.stderr) == (1, "roost: churn: its bundle has no baseline.json\n")


def test_json_is_one_document_with_counts(admin: ScriptedAdmin) -> None:
    admin.answers["GetDrift"] = reply(window(), counts=[counts()])
    found = json.loads(run(admin.address, "drift", "churn", "--json").stdout)
    assert found["windows"][0]["features"][0]["name"] == "age"
    assert found["counts"][0]["window"] == [0, 10, 80, 10]


def test_a_length_that_there_is_not_is_refused_with_those_there_are(admin: ScriptedAdmin) -> None:
    result = run(admin.address, "drift", "churn", "--window", "month")
    assert result.exit_code == 2
    assert "'minute', 'hour', 'day', 'week'" in re.sub(r"[│\s]+", " ", result.stderr)
