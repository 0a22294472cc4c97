"""A canary watched beside its stable: what only its predictions show holds its plan, or takes it home."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from native.plane.drift import against, open_counts
from native.plane.layout import DRIFT_BUCKETS, Plane
from native.route.layout import MAIN, TRIAL
from protos.roost.v1 import admin_pb2
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import Baseline
from registry_client.folder import FolderRegistry
from server.control.drift.metrics import drift_families
from server.control.drift.readings import SLICE_NS
from server.judgement.drift.canary import Whose
from tests.control.drift.counted_seats import MONDAY, Clock
from tests.control.drift.test_watching import baseline, in_cache, settings
from tests.control.driven_server import NAME, DrivenServer, new_plane, operation, push, serving
from tests.control.driven_world import deploy, written

HALF = 500_000
PREDICTIONS = 1
FEATURES = 4
ROWS = 400


class Rollout:
    """A stable and its canary, each with a baseline; rows of both are counted in the plane as workers would."""

    def __init__(self, server: DrivenServer, clock: Clock, known: Baseline) -> None:
        self.server, self.clock = server, clock
        self.random = np.random.default_rng(4)
        self.inputs_too = False  # whether the population's shift is of an input, too
        self._features = (*known.inputs, *known.predictions)

    @property
    def plane(self) -> Plane:
        return self.server.driver._plane

    def count(self, shift: float, population: float) -> None:
        """As many rows for either. shift: of the canary's predictions; population: of all predictions."""
        stable, canary = self.server.route.stable, self.server.route.canary
        assert stable is not None
        own = open_counts(self.plane.drift(0, stable.seat), stable.generation, 14 * FEATURES)[MAIN]
        self._rows(own, self._features, population)
        if canary is None:
            return
        own = open_counts(self.plane.drift(0, canary.seat), canary.generation, 14 * FEATURES)[TRIAL]
        self._rows(own, self._features, population + shift)
        word = against(canary.seat, stable.seat, stable.generation)
        beside = open_counts(self.plane.drift_beside(0, 0), canary.generation, 14 * PREDICTIONS, word)[TRIAL]
        self._rows(beside, self._features[-PREDICTIONS:], population + shift)

    def _rows(self, counts: np.ndarray, features: tuple[Any, ...], prediction: float) -> None:
        values = self.random.normal(size=(ROWS, len(features)))
        values[:, -1] += prediction
        if self.inputs_too:
            values[:, 0] += prediction
        buckets = self.random.integers(0, DRIFT_BUCKETS, ROWS)
        for place, feature in enumerate(features):
            np.add.at(counts, (buckets, 14 * place + bins_of(feature, values[:, place])), 1)

    async def slices(self, count: int, shift: float = 0.0, population: float = 0.0) -> None:
        for _ in range(count):
            self.count(shift, population)
            self.clock.step(SLICE_NS)
            await self.server.drift.look()

    async def deploy(self, version: str = "2") -> None:
        await deploy(self.server, version, ppm=HALF)
        await self.server.until(lambda: self.server.route.canary_ppm == HALF)

    @property
    def whose(self) -> Whose:
        report = self.server.drift.models[NAME].beside.report
        assert report is not None, self.server.drift.models[NAME].beside.reason
        return report.whose

    async def reply(self) -> admin_pb2.CanaryDrift:
        reply = await self.server.stub.GetDrift(admin_pb2.GetDriftRequest(model=NAME))
        return reply.canary

    @property
    def is_held(self) -> bool:
        canary = self.server.driver.state(NAME).canary
        assert canary is not None
        return canary.paused

    async def resume(self) -> None:
        await self.server.stub.Resume(admin_pb2.ResumeRequest(operation=operation(), model=NAME))

    def events(self) -> list[str]:
        return [event.text for event in self.server.driver.events.kept_after(0) if event.kind == "drift"]


@asynccontextmanager
async def rollout(
    folder: Path, *, canarys: bool = True, plane: Plane | None = None, **drift: Any
) -> AsyncIterator[Rollout]:
    """canarys: whether the canary's bundle has a baseline."""
    known = baseline()
    if plane is None:
        push(folder / "registry", 1, aliases=("stable",), baseline=known)
        for number in (2, 3):
            push(folder / "registry", number, baseline=known if canarys else None)
        in_cache(folder)
    clock = Clock()
    clocks = {"utc_ns": lambda: clock.at_utc_ns, "now_ns": lambda: clock.now_ns}
    found = settings(folder, **drift)
    digest = _digest(folder)
    async with serving(found, plane or new_plane(boot=MONDAY), digest, drift_clock=clocks) as server:
        await server.until(lambda: server.digest("stable") == digest)
        yield Rollout(server, clock, known)


def _digest(folder: Path) -> str:
    return FolderRegistry(folder / "registry").resolve(NAME, 1).digest


async def test_a_canary_whose_predictions_differ_has_its_plan_held(tmp_path: Path) -> None:
    async with rollout(tmp_path) as world:
        await world.deploy()
        await world.slices(6)
        assert world.whose is Whose.SAME
        assert world.server.driver.state(NAME).canary.paused is False  # type: ignore[union-attr]
        await world.slices(6, shift=1.0)
        assert world.whose is Whose.MODEL
        canary = world.server.driver.state(NAME).canary
        assert canary is not None
        assert canary.paused
        assert f"drift of {NAME}: canary" in world.server.driver.alerts
        (told,) = world.events()
        assert told.startswith("The predictions of version 2 differ from its stable's. Only the canary shows it")
        reply = await world.reply()
        assert (reply.whose, reply.artifact.version, reply.reason) == ("model", "2", "")
        assert reply.log_e >= reply.log_threshold
        (feature,) = reply.features
        assert feature.name == "y0"
        assert feature.moved
        words = (await world.server.stub.Explain(admin_pb2.ExplainRequest(model=NAME))).words
        assert any("The canary's predictions beside the stable's: Only the canary shows it" in line for line in words)
        families = {family.name: family.samples for family in drift_families(world.server.drift)}
        assert [one.labels["verdict"] for one in families["roost_drift_canary_verdict"] if one.value == 1] == ["model"]
        assert families["roost_drift_canary_evidence_ratio"][0].value >= 1


async def test_a_shift_that_both_show_is_the_populations(tmp_path: Path) -> None:
    async with rollout(tmp_path) as world:
        await world.deploy()
        await world.slices(40, population=1.0)
        assert world.whose is Whose.SAME
        canary = world.server.driver.state(NAME).canary
        assert canary is not None
        assert not canary.paused
        assert world.server.drift.models[NAME].reports, "and its own detector sees it"
        assert any("predictions have drifted" in text for text in world.events())


async def test_where_the_policy_says_so_it_goes_home_with_its_evidence(tmp_path: Path) -> None:
    async with rollout(tmp_path, canary="rollback") as world:
        await world.deploy()
        digest = world.server.digest("canary")
        await world.slices(6, shift=1.0)
        state = world.server.driver.state(NAME)
        assert state.canary is None
        assert "differ from its stable's" in state.quarantine[digest or ""]
        await written(world.server)
        (entry,) = [entry for entry in world.server.driver.entries if entry["kind"] == "went_home"]
        assert entry["evidence"]["report"]["whose"] == "model"
        await world.slices(1)
        assert f"drift of {NAME}: canary" not in world.server.driver.alerts
        assert (await world.reply()).reason == "No canary is on trial."


@pytest.mark.parametrize("how", ["dry_run", "frozen", "auto_rollback"])
async def test_it_stays_in_a_dry_run_while_frozen_and_where_rollbacks_are_off(tmp_path: Path, how: str) -> None:
    async with rollout(tmp_path, canary="rollback", dry_run=how == "dry_run") as world:
        if how == "auto_rollback":
            lifecycle = world.server.driver.settings.lifecycle.model_copy(update={"auto_rollback": False})
            world.server.driver.settings = world.server.driver.settings.model_copy(update={"lifecycle": lifecycle})
        await world.deploy()
        if how == "frozen":
            await world.server.stub.Freeze(admin_pb2.FreezeRequest(operation=operation(), model=NAME))
        await world.slices(6, shift=1.0)
        canary = world.server.driver.state(NAME).canary
        assert canary is not None
        assert canary.paused is (how == "auto_rollback")
        assert len(world.events()) == 1


async def test_a_canary_that_was_promoted_is_none_any_more_at_once(tmp_path: Path) -> None:
    async with rollout(tmp_path) as world:
        await world.deploy()
        await world.slices(3)
        assert (await world.reply()).whose == "same"
        await world.server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await world.server.until(lambda: world.server.driver.state(NAME).canary is None)
        reply = await world.reply()
        assert (reply.reason, reply.whose, reply.HasField("artifact")) == ("No canary is on trial.", "", False)


async def test_a_canary_without_a_baseline_says_so(tmp_path: Path) -> None:
    async with rollout(tmp_path, canarys=False) as world:
        await world.deploy()
        await world.slices(2)
        reply = await world.reply()
        assert reply.reason == "The canary's bundle has no baseline, so that its rows are not counted."
        assert reply.artifact.version == "2"


async def test_what_a_canary_has_shown_outlives_control(tmp_path: Path) -> None:
    plane = new_plane(boot=MONDAY)
    async with rollout(tmp_path) as world:
        await world.deploy()
        await world.slices(20, shift=1.0)
        plane, before = world.plane, world.server.drift.models[NAME].beside.report
        await world.server.drift.stop()
    async with rollout(tmp_path, plane=plane) as world:
        world.clock.step(21 * SLICE_NS)
        await world.server.drift.look()
        report = world.server.drift.models[NAME].beside.report
        assert report is not None
        assert before is not None
        assert report.whose is Whose.MODEL, "before another row was counted"
        assert report.canary_rows == before.canary_rows


async def test_another_canary_goes_home_too_although_the_first_ones_cool_down_is_not_over(tmp_path: Path) -> None:
    async with rollout(tmp_path, canary="rollback") as world:
        for version in ("2", "3"):
            await world.deploy(version)
            digest = world.server.digest("canary")
            await world.slices(6, shift=1.0)
            assert digest in world.server.driver.state(NAME).quarantine
        assert len(world.events()) == 2


async def test_an_operator_who_resumes_a_plan_has_the_last_word_over_restarts(tmp_path: Path) -> None:
    async with rollout(tmp_path) as world:
        await world.deploy()
        await world.slices(20, shift=1.0)
        assert world.is_held
        await world.resume()
        await world.slices(5, shift=1.0)
        assert not world.is_held
        await written(world.server)
        plane = world.plane
        await world.server.drift.stop()
    async with rollout(tmp_path, plane=plane) as world:
        world.clock.step(26 * SLICE_NS)
        await world.slices(5, shift=1.0)
        assert world.whose is Whose.MODEL
        assert not world.is_held
        assert world.events() == []


async def test_a_plan_that_was_held_for_the_population_is_held_for_the_canary_too(tmp_path: Path) -> None:
    async with rollout(tmp_path, predictions="hold") as world:
        await world.deploy()
        await world.slices(20, population=1.0)
        assert world.is_held
        await world.resume()
        await world.slices(20, population=1.0)
        assert not world.is_held
        await world.slices(40, population=1.0, shift=1.0)  # as many as were alike: all of a weight are taken together
        assert world.is_held


async def test_several_signals_take_traffic_home_once(tmp_path: Path) -> None:
    said = {"inputs": "rollback", "predictions": "rollback", "i_know": True, "reason": "it knows", "cool_down_s": 0.0}
    async with rollout(tmp_path, **said) as world:
        world.inputs_too = True
        await world.deploy()
        await world.server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await world.deploy("3")
        await world.slices(17, population=1.0)
        assert {seen.report.verdict.value for seen in world.server.drift.models[NAME].reports.values()} == {"drift"}
        state = world.server.driver.state(NAME)
        assert state.canary is None
        assert state.stable is not None
        assert state.stable.version == "2", "one at a time: whether that has helped is to be seen"


async def test_where_callers_choose_their_version_nothing_is_compared(tmp_path: Path) -> None:
    async with rollout(tmp_path) as world:
        lifecycle = world.server.driver.settings.lifecycle.model_copy(update={"pin_allowed": True})
        world.server.driver.settings = world.server.driver.settings.model_copy(update={"lifecycle": lifecycle})
        await world.deploy()
        await world.slices(6, shift=1.0)
        assert (await world.reply()).reason.startswith("Callers may choose their version")
        assert not world.is_held


async def test_the_populations_drift_takes_traffic_home_where_somebody_has_said_why(tmp_path: Path) -> None:
    said = {"predictions": "rollback", "i_know": True, "reason": "the version before knows such rows"}
    async with rollout(tmp_path, **said) as world:
        await world.deploy()
        await world.server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await world.server.until(lambda: world.server.driver.state(NAME).canary is None)
        await world.slices(40, population=1.0)
        state = world.server.driver.state(NAME)
        assert state.stable is not None
        assert state.stable.version == "1"
        entry = [entry for entry in world.server.driver.entries if entry["kind"] == "rolled_back"][-1]
        assert entry["operator"] == "roost drift"
        assert "the version before knows such rows" in entry["reason"]
