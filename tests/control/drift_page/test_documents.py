"""What the page is told over HTTP is what GetDrift says and the book holds: bounded, and with a reason for nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from server.control.drift.windows import WindowKind
from server.control.drift_page import documents
from server.judgement.drift.psi import band
from tests.control.drift_page.watched import COLUMNS, MODEL, UNWATCHED, Watched, baseline_of, watched

FIGURES = {
    "psi": "psi", "psi_debiased": "psi_debiased", "standard_error": "standard_error", "rule_of_thumb": "rule_of_thumb",
    "rows": "rows", "effective_rows": "effective_rows", "log_e": "log_e", "moved": "moved",
}  # fmt: skip


async def said(world: Watched, length: str = "minute", signal: str = "inputs") -> Any:
    reply = await world.reply(counts_of=length)
    return reply, next(one for one in reply.windows if (one.signal, one.length) == (signal, length))


async def test_the_heat_map_has_the_features_in_order_of_concern_and_a_column_for_each_window(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(3)
        world.shifts["support_calls"] = 1.0
        await world.minutes(2)
        shown = await world.heat_map()
        _, window = await said(world)
        assert [row["name"] for row in shown["features"]] == [feature.name for feature in window.features]
        assert shown["features"][0]["name"] == "support_calls"
        assert shown["order"] == "concern"
        assert [column["rows"] for column in shown["columns"]] == [800] * 5
        assert [after["window"] - before["window"] for before, after in pairwise(shown["columns"])] == [60] * 4
        assert shown["columns"][-1]["end_utc"] == window.end_utc
        first = shown["features"][0]
        assert all(value < 0.1 for value in first["debiased"][:3])
        assert all(value > 0.5 for value in first["debiased"][3:])


async def test_what_the_last_window_said_is_what_get_drift_says(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        world.shifts["contract"] = 0.1
        await world.minutes(3)
        reply, window = await said(world)
        shown = await world.heat_map()
        judged = shown["judged"]
        assert (judged["verdict"], judged["why"]) == (window.verdict, window.why)
        assert (judged["start_utc"], judged["end_utc"]) == (window.start_utc, window.end_utc)
        assert (judged["rows"], judged["weighted_psi"]) == (window.rows, window.weighted_psi)
        assert judged["log_detector"] == window.log_detector
        assert math.log(judged["threshold"]) == window.log_threshold
        assert shown["alerts"] == [
            {"key": key, "text": text} for key, text in world.server.driver.alerts.items() if MODEL in key
        ]
        assert shown["alerts"][0]["key"] == f"drift of {MODEL}: inputs"
        for feature in window.features:
            detail = await world.feature(feature.name)
            for theirs, ours in FIGURES.items():
                assert detail["judged"][ours] == getattr(feature, theirs), (feature.name, theirs)
            assert detail["window"]["is_last"]
        for counts in reply.counts:
            if counts.signal == "inputs":
                bins = (await world.feature(counts.name))["bins"]
                assert [one["label"] for one in bins] == list(counts.bins)
                assert [one["reference"] for one in bins] == list(counts.reference)
                assert [one["live"] for one in bins] == list(counts.window)


async def test_where_the_training_reference_judges_the_last_column_is_what_was_judged(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(2)
        for row in (await world.heat_map())["features"]:
            assert row["psi"][-1] == pytest.approx(row["judged"]["psi"], abs=1e-5)
            assert row["debiased"][-1] == pytest.approx(row["judged"]["psi_debiased"], abs=1e-5)


async def test_an_older_window_has_its_own_bins_and_says_what_is_not_known_of_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(1)
        world.shifts["age"] = 2.0
        await world.minutes(1, rows=1600)
        first, last = (await world.heat_map())["columns"]
        older = await world.feature("age", window=first["window"])
        assert older["judged"] is None
        assert "known for the last window only" in older["unknown"]
        assert sum(one["live"] for one in older["bins"]) == 800
        assert older["counted"]["psi"] < 0.1 < older["counted"]["psi"] + 0.1
        assert older["counted"]["band"] == band(older["counted"]["psi"]).value
        assert not older["window"]["is_last"]
        newest = await world.feature("age", window=last["window"])
        assert newest == await world.feature("age")
        assert newest["judged"]["moved"]
        assert sum(one["live"] for one in newest["bins"]) == 1600


async def test_what_is_too_much_is_left_out_and_counted(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        world.shifts["devices"] = 2.0
        await world.minutes(5)
        with mock.patch.object(documents, "FEATURES_MAX", 3):
            shown = await world.heat_map(windows=2)
        assert shown["left_out"] == {"features": len(COLUMNS) - 3, "windows": 3}
        assert [len(row["psi"]) for row in shown["features"]] == [2, 2, 2]
        assert shown["features"][0]["name"] == "devices"
        whole = await world.heat_map()
        assert whole["left_out"] == {"features": 0, "windows": 0}
        assert whole["features"][:3] == [
            {**row, "psi": full["psi"], "debiased": full["debiased"]}
            for row, full in zip(shown["features"], whole["features"], strict=False)
        ]
        assert [row["psi"][-2:] for row in whole["features"][:3]] == [row["psi"] for row in shown["features"]]


async def test_a_model_without_a_baseline_says_what_to_do(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        shown = await world.heat_map(UNWATCHED)
        assert "roost bundle --reference" in shown["reason"]
        assert (shown["features"], shown["columns"], shown["judged"]) == ([], [], None)
        answer = await world.get("/drift/feature", model=UNWATCHED, feature="x")
        assert answer.status_code == 400
        assert "roost bundle --reference" in answer.json()["error"]


async def test_a_model_without_windows_says_so_and_which_lengths_there_are(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        assert (await world.heat_map())["reason"] == "No minute has ended yet since rows of this version are counted."
        await world.minutes(2)
        shown = await world.heat_map(length="hour")
        assert shown["reason"] == "No hour has ended yet since rows of this version are counted."
        assert shown["lengths"][0] == {"word": "minute", "windows": 2}
        assert (await world.heat_map())["reason"] == ""


async def test_a_baseline_without_predictions_says_so(tmp_path: Path) -> None:
    async with watched(tmp_path, baseline=replace(baseline_of(), predictions=())) as world:
        shown = await world.heat_map(signal="predictions")
        assert shown["reason"] == "Its baseline has no predictions, so that their drift is not seen."


async def test_predictions_have_a_heat_map_of_their_own(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        world.shifts["churn_probability"] = 1.0
        await world.minutes(2)
        shown = await world.heat_map(signal="predictions")
        assert [row["name"] for row in shown["features"]] == ["churn_probability"]
        assert shown["judged"]["verdict"] == "drift"
        assert (await world.heat_map())["judged"]["verdict"] == "quiet"
        detail = await world.feature("churn_probability", signal="predictions")
        assert detail["judged"]["moved"]


async def test_a_signal_that_is_off_has_a_heat_map_and_no_verdict(tmp_path: Path) -> None:
    async with watched(tmp_path, inputs="off") as world:
        world.shifts["devices"] = 2.0
        await world.minutes(2)
        shown = await world.heat_map()
        assert shown["judged"] is None
        assert shown["not_judged"] == "Not judged: drift.inputs is off in the settings."
        assert shown["order"] == "distance"
        assert shown["features"][0]["name"] == "devices"
        detail = await world.feature("devices")
        assert detail["judged"] is None
        assert detail["unknown"] == shown["not_judged"]
        assert detail["counted"]["psi"] > 0.5


async def test_windows_with_few_rows_have_figures_and_those_without_have_none(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(1, rows=32)
        await world.minutes(1, rows=0)
        shown = await world.heat_map()
        assert shown["rows_min"] == 100
        assert [column["rows"] for column in shown["columns"]] == [32, 0]
        assert all(row["psi"][0] is not None and row["psi"][1] is None for row in shown["features"])
        assert shown["judged"]["verdict"] == "not_enough"
        assert not shown["judged"]["measured"]
        detail = await world.feature("age")
        assert (detail["judged"], detail["counted"]) == (None, None)
        assert detail["unknown"] == "No rows in this window."


async def test_while_the_season_is_learnt_the_heat_map_shows_what_was_counted(tmp_path: Path) -> None:
    async with watched(tmp_path, season="learn") as world:
        world.shifts["devices"] = 2.0
        await world.minutes(2)
        shown = await world.heat_map()
        assert shown["judged"]["why"].startswith("Still learning what is usual at this hour of the week")
        assert shown["features"][0]["name"] == "devices"
        detail = await world.feature("devices")
        assert detail["unknown"] == shown["judged"]["why"]


async def test_figures_of_a_known_hour_say_what_they_are_held_against(tmp_path: Path) -> None:
    async with watched(tmp_path, season="learn", tau=1.0) as world:
        await world.minutes(4)
        shown = await world.heat_map()
        assert shown["judged"]["against"] == "what is usual at this hour of the week"
        assert (await world.feature("age"))["against"] == "what is usual at this hour of the week"
        assert (await world.feature("age", window=shown["columns"][0]["window"]))["against"] == "the training reference"


async def test_models_are_told_with_the_worst_that_any_of_their_windows_says(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        models = (await world.get("/drift/models")).json()["models"]
        assert models == [{"name": UNWATCHED, "verdict": None}, {"name": MODEL, "verdict": None}]
        world.shifts["age"] = 2.0
        await world.minutes(2)
        assert (await world.get("/drift/models")).json()["models"][1] == {"name": MODEL, "verdict": "drift"}


async def test_what_may_be_chosen_is_there_whichever_way_it_is_asked_for(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(61, rows=160)
        for kind in WindowKind:
            shown = await world.heat_map(length=kind.word)
            assert shown["length"] == kind.word
            assert bool(shown["columns"]) is (kind in (WindowKind.MINUTE, WindowKind.HOUR))
        assert len((await world.heat_map())["columns"]) == 60
        assert (await world.heat_map())["left_out"]["windows"] == 1
