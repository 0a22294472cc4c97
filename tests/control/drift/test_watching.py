"""Drift watched in a control process: counts in the plane become windows, reports, alerts, and a plan that waits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import numpy as np
import pytest

from native.plane.drift import open_counts
from native.plane.layout import DRIFT_BUCKETS
from native.route.layout import MAIN
from protos.roost.v1 import admin_pb2
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import Baseline, Feature, Kind
from registry_client.cache import BundleCache
from registry_client.folder import FolderRegistry
from server.control.drift import metrics, watching
from server.control.drift.metrics import drift_families
from server.control.drift.readings import SLICE_NS
from server.control.drift.watching import QUIET_WINDOWS
from server.control.drift.windows import WindowKind
from server.judgement.drift.report import Verdict
from server.settings import Settings
from tests.control.drift.counted_seats import MONDAY, Clock
from tests.control.driven_server import NAME, DrivenServer, new_plane, operation, push, serving, settings_of
from tests.control.driven_world import deploy

EDGES = (-3.0, -1.3, -0.85, -0.5, -0.25, 0.0, 0.25, 0.5, 0.85, 1.3, 3.0)
ROWS_A_SLICE = 50
SLICES_A_MINUTE = 16


def baseline(reference_rows: int = 20_000) -> Baseline:
    rows = np.random.default_rng(1).normal(size=(reference_rows, 3))
    empty = [Feature(f"x{column}", "x", column, Kind.NUMBER, EDGES, (0,) * 14) for column in range(3)]
    inputs = tuple(
        Feature(one.name, "x", one.column, one.kind, EDGES, tuple(_binned(one, rows[:, one.column]).tolist()))
        for one in empty
    )
    prediction = Feature("y0", "y", 0, Kind.NUMBER, EDGES, inputs[0].counts)
    return Baseline(reference_rows, 0.0, inputs, (prediction,))


def _binned(feature: Feature, values: np.ndarray) -> np.ndarray:
    return np.bincount(bins_of(feature, values), minlength=14)


class Traffic:
    """Rows of a served model, counted in the plane as a worker would."""

    def __init__(self, server: DrivenServer, clock: Clock, reference: Baseline | None = None) -> None:
        self.server = server
        self.clock = clock
        self.random = np.random.default_rng(2)
        known = reference or baseline()
        self._features = (*known.inputs, *known.predictions)

    def count(self, shift: float = 0.0, rows: int = ROWS_A_SLICE) -> None:
        """Standard normal rows; the first input moved by so much."""
        ref = self.server.route.stable
        assert ref is not None
        bins = 14 * len(self._features)
        counts = open_counts(self.server.driver._plane.drift(0, ref.seat), ref.generation, bins)[MAIN]
        values = self.random.normal(size=(rows, len(self._features)))
        values[:, 0] += shift
        buckets = self.random.integers(0, DRIFT_BUCKETS, rows)
        for place, feature in enumerate(self._features):
            np.add.at(counts, (buckets, 14 * place + bins_of(feature, values[:, place])), 1)

    async def minutes(self, minutes: int, shift: float = 0.0, rows: int = ROWS_A_SLICE) -> None:
        for _ in range(minutes * SLICES_A_MINUTE):
            if rows:
                self.count(shift, rows)
            self.clock.step(SLICE_NS)
            await self.server.drift.look()

    async def reply(self, **fields: str) -> Any:
        return await self.server.stub.GetDrift(admin_pb2.GetDriftRequest(model=NAME, **fields))

    def verdict(self, signal: str = "inputs", kind: WindowKind = WindowKind.MINUTE) -> Verdict:
        return self.server.drift.models[NAME].reports[signal, kind].report.verdict

    def events(self, kind: str) -> list[str]:
        return [event.text for event in self.server.driver.events.kept_after(0) if event.kind == kind]


def settings(folder: Path, **drift: Any) -> Settings:
    found = settings_of(folder)
    section = {"season": "off", "days_without_false_alarm": 1.0, **drift}
    return Settings.model_validate({**found.model_dump(), "drift": section})


def in_cache(folder: Path) -> None:
    """As the worker that loads the version leaves it."""
    registry = FolderRegistry(folder / "registry")
    registry.fetch(registry.resolve(NAME, 1), BundleCache(folder / "cache"))


@asynccontextmanager
async def traffic(
    folder: Path, *, reference_rows: int = 20_000, reference: Baseline | None = None, **drift: Any
) -> AsyncIterator[Traffic]:
    """reference_rows: of the baseline that is made where none is given; 0: of none."""
    if reference is None and reference_rows:
        reference = baseline(reference_rows)
    digest = push(folder / "registry", 1, aliases=("stable",), baseline=reference)
    push(folder / "registry", 2)
    in_cache(folder)
    clock = Clock()
    plane = new_plane(boot=MONDAY)
    clocks = {"utc_ns": lambda: clock.at_utc_ns, "now_ns": lambda: clock.now_ns}
    async with serving(settings(folder, **drift), plane, digest, drift_clock=clocks) as server:
        await server.until(lambda: server.digest("stable") == digest)
        yield Traffic(server, clock, reference)


async def test_traffic_like_the_reference_is_quiet_and_a_shift_is_told_with_its_feature(tmp_path: Path) -> None:
    async with traffic(tmp_path) as world:
        await world.minutes(20)
        assert world.verdict() is Verdict.QUIET
        assert world.verdict("predictions") is Verdict.QUIET
        assert world.events("drift") == []
        await world.minutes(5, shift=1.0)
        assert world.verdict() is Verdict.DRIFT
        assert world.server.drift.models[NAME].reports["inputs", WindowKind.MINUTE].report.moved == ("x0",)
        assert world.verdict("predictions") is Verdict.QUIET
        (told,) = world.events("drift")
        assert "x0" in told
        assert f"drift of {NAME}: inputs" in world.server.driver.alerts
        reply = await world.server.stub.Explain(admin_pb2.ExplainRequest(model=NAME))
        assert any("Drift of inputs in the last minute: Moved: x0" in line for line in reply.words)


async def test_the_alert_is_over_once_the_traffic_is_as_before(tmp_path: Path) -> None:
    async with traffic(tmp_path, rows_min=10) as world:
        await world.minutes(10, shift=1.0)
        assert world.verdict() is Verdict.DRIFT
        for _ in range(120):
            await world.minutes(1)
            if world.verdict() is Verdict.QUIET:
                break
        assert world.events("alert_over") == [], "one quiet minute is none"
        await world.minutes(QUIET_WINDOWS - 1)
        assert f"drift of {NAME}: inputs" not in world.server.driver.alerts
        assert world.events("alert_over") == [f"drift of {NAME}: inputs"]


async def test_minutes_with_too_few_rows_neither_end_an_alert_nor_begin_it_anew(tmp_path: Path) -> None:
    async with traffic(tmp_path, rows_min=500) as world:
        await world.minutes(3, shift=1.0)
        for _ in range(4):
            await world.minutes(1, rows=20, shift=1.0)
            await world.minutes(1, shift=1.0)
        assert (len(world.events("alert")), len(world.events("alert_over")), len(world.events("drift"))) == (1, 0, 1)


async def test_what_drifted_is_answered_in_order_of_concern_with_counts_that_add_up(tmp_path: Path) -> None:
    async with traffic(tmp_path) as world:
        await world.minutes(3, shift=1.0)
        reply = await world.reply(counts_of="minute")
        window = next(one for one in reply.windows if (one.signal, one.length) == ("inputs", "minute"))
        assert (window.verdict, window.features[0].name, window.features[0].moved) == ("drift", "x0", True)
        assert window.rows == ROWS_A_SLICE * SLICES_A_MINUTE
        assert window.log_detector >= window.log_threshold
        assert [(one.signal, one.name) for one in reply.counts] == [
            ("inputs", "x0"), ("inputs", "x1"), ("inputs", "x2"), ("predictions", "y0"),
        ]  # fmt: skip
        assert {sum(one.window) for one in reply.counts} == {window.rows}
        assert sum(reply.counts[0].reference) == 20_000
        assert reply.counts[0].bins[0] == "below -3"
        assert not (await world.reply()).counts
        with pytest.raises(grpc.RpcError, match="counts_of: expected one of minute, hour, day, week, got 'month'"):
            await world.reply(counts_of="month")


async def test_a_model_without_a_baseline_says_what_to_do(tmp_path: Path) -> None:
    async with traffic(tmp_path, reference_rows=0) as world:
        await world.server.drift.look()
        reply = await world.reply()
        assert "roost bundle --reference" in reply.reason
        assert not reply.windows


async def test_a_reference_that_is_too_small_for_tau_says_how_many_rows_it_takes(tmp_path: Path) -> None:
    async with traffic(tmp_path, reference_rows=400) as world:
        await world.minutes(2)
        for window in (await world.reply()).windows:
            assert window.verdict == "not_enough"
            assert re.search("reference of .*: expected at least [0-9,]+ rows for its [0-9]+ bins", window.why)
        assert world.server.driver.alerts == {}


async def test_a_signal_whose_reference_is_too_small_does_not_silence_the_other(tmp_path: Path) -> None:
    full = baseline()
    poor = replace(full.inputs[0], counts=tuple(count // 50 for count in full.inputs[0].counts))
    async with traffic(tmp_path, reference=replace(full, inputs=(poor, *full.inputs[1:]))) as world:
        await world.minutes(3)
        assert world.verdict("inputs") is Verdict.NOT_ENOUGH
        assert world.verdict("predictions") is Verdict.QUIET


async def test_few_rows_are_not_enough_and_none_are_none(tmp_path: Path) -> None:
    async with traffic(tmp_path, rows_min=1000) as world:
        await world.minutes(2, shift=3.0)
        assert world.verdict() is Verdict.NOT_ENOUGH
        await world.minutes(2, rows=0)
        report = world.server.drift.models[NAME].reports["inputs", WindowKind.MINUTE].report
        assert (report.verdict, report.why) == (Verdict.NOT_ENOUGH, "No rows in this window.")


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_plan_waits_where_the_policy_holds_and_a_dry_run_only_tells(tmp_path: Path, dry_run: bool) -> None:
    async with traffic(tmp_path, inputs="hold", dry_run=dry_run) as world:
        await deploy(world.server)
        await world.server.until(lambda: world.server.driver.state(NAME).canary is not None)
        await world.minutes(5, shift=1.0)
        canary = world.server.driver.state(NAME).canary
        assert canary is not None
        assert canary.paused is not dry_run
        (told,) = world.events("drift")
        assert ("Dry run: would hold" in told) is dry_run


async def test_a_plan_that_begins_while_drift_stands_waits_too_and_is_not_held_twice(tmp_path: Path) -> None:
    async with traffic(tmp_path, inputs="hold") as world:
        await world.minutes(5, shift=1.0)
        await deploy(world.server)
        await world.server.until(lambda: world.server.driver.state(NAME).canary is not None)
        await world.minutes(2, shift=1.0)
        canary = world.server.driver.state(NAME).canary
        assert canary is not None
        assert canary.paused, "although the alert was told before"
        await world.server.stub.Resume(admin_pb2.ResumeRequest(operation=operation(), model=NAME))
        await world.minutes(3, shift=1.0)
        canary = world.server.driver.state(NAME).canary
        assert canary is not None
        assert not canary.paused, "an operator has seen it"


async def test_a_signal_that_is_off_is_not_judged(tmp_path: Path) -> None:
    async with traffic(tmp_path, inputs="off") as world:
        await world.minutes(3, shift=3.0)
        assert {signal for signal, _ in world.server.drift.models[NAME].reports} == {"predictions"}


async def test_while_the_season_is_learnt_minutes_say_so(tmp_path: Path) -> None:
    async with traffic(tmp_path, season="learn") as world:
        await world.minutes(1, shift=3.0)
        report = world.server.drift.models[NAME].reports["inputs", WindowKind.MINUTE].report
        assert report.verdict is Verdict.NOT_ENOUGH
        assert report.why.startswith("Still learning what is usual at this hour of the week")


async def test_another_life_of_control_goes_on_where_the_first_was(tmp_path: Path) -> None:
    digest = push(tmp_path / "registry", 1, aliases=("stable",), baseline=baseline())
    in_cache(tmp_path)
    clock, plane = Clock(), new_plane(boot=MONDAY)
    clocks = {"utc_ns": lambda: clock.at_utc_ns, "now_ns": lambda: clock.now_ns}
    async with serving(settings(tmp_path), plane, digest, drift_clock=clocks) as server:
        await server.until(lambda: server.digest("stable") == digest)
        world = Traffic(server, clock)
        await world.minutes(10)
        windows = world.server.drift.models[NAME].reports["inputs", WindowKind.MINUTE].report.windows
        world.count()
        await world.server.drift.stop()
    async with serving(settings(tmp_path), plane, digest, drift_clock=clocks) as server:
        world = Traffic(server, clock)
        await world.minutes(1)
        seen = world.server.drift.models[NAME].reports["inputs", WindowKind.MINUTE]
        assert seen.report.windows == windows + 1
        assert seen.report.rows == ROWS_A_SLICE * (SLICES_A_MINUTE + 1), "with what was counted while nobody read"


async def test_another_life_of_control_knows_what_was_said_and_does_not_say_it_again(tmp_path: Path) -> None:
    digest = push(tmp_path / "registry", 1, aliases=("stable",), baseline=baseline())
    in_cache(tmp_path)
    clock, plane = Clock(), new_plane(boot=MONDAY)
    clocks = {"utc_ns": lambda: clock.at_utc_ns, "now_ns": lambda: clock.now_ns}
    async with serving(settings(tmp_path), plane, digest, drift_clock=clocks) as server:
        await server.until(lambda: server.digest("stable") == digest)
        world = Traffic(server, clock)
        await world.minutes(61, shift=1.0)
        before = dict(server.drift.models[NAME].reports)
        alert = server.driver.alerts[f"drift of {NAME}: inputs"]
        assert len(world.events("drift")) > 0
        await server.drift.stop()
    async with serving(settings(tmp_path), plane, digest, drift_clock=clocks) as server:
        world = Traffic(server, clock)
        clock.step(SLICE_NS)
        await server.drift.look()
        after = server.drift.models[NAME].reports
        assert after.keys() == before.keys() >= {("inputs", WindowKind.HOUR), ("predictions", WindowKind.MINUTE)}
        for key, seen in before.items():
            assert after[key].report.to_dict() == seen.report.to_dict()
            assert after[key].window.end_utc_ns == seen.window.end_utc_ns
        assert server.driver.alerts[f"drift of {NAME}: inputs"] == alert
        await world.minutes(1, shift=1.0)
        assert world.events("drift") == [], "its cool-down is not over"
        await world.minutes(QUIET_WINDOWS + 1)
        assert world.server.drift.models[NAME].drifting("inputs") == (WindowKind.HOUR,), "the minute's is over"


async def test_metrics_are_of_every_signal_and_of_few_features_however_wide_the_model_is(tmp_path: Path) -> None:
    one = baseline().inputs[0]
    wide = replace(baseline(), predictions=tuple(replace(one, name=f"y{n}", tensor="y", column=n) for n in range(3)))
    async with traffic(tmp_path, reference=wide) as world:
        with mock.patch.object(metrics, "FEATURES_SHOWN", 2):
            await world.minutes(61)
            found = {family.name: family for family in drift_families(world.server.drift)}
        verdicts = {tuple(sample.labels.values()): sample.value for sample in found["roost_drift_verdict"].samples}
        assert verdicts[NAME, "inputs", "minute", "quiet"] == 1
        assert verdicts[NAME, "inputs", "minute", "drift"] == 0
        rows = {tuple(sample.labels.values()): sample.value for sample in found["roost_drift_window_rows"].samples}
        assert rows[NAME, "predictions", "minute"] == ROWS_A_SLICE * SLICES_A_MINUTE
        assert found["roost_drift_looks"].samples[0].value == 61 * SLICES_A_MINUTE
        shown = [tuple(sample.labels.values()) for sample in found["roost_drift_psi"].samples]
        assert sorted(place[1:3] for place in shown) == [("inputs", "hour")] * 2 + [("predictions", "hour")] * 2


async def test_an_event_tells_of_no_more_features_than_can_be_posted(tmp_path: Path) -> None:
    async with traffic(tmp_path) as world:
        with mock.patch.object(watching, "FEATURES_TOLD", 1):
            await world.minutes(3, shift=1.0)
        (told,) = [event for event in world.server.driver.events.kept_after(0) if event.kind == "drift"]
        assert [feature["name"] for feature in told.detail["report"]["features"]] == ["x0"]
        assert told.detail["features_left_out"] == 2
