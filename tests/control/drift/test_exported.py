"""Counts by bin for Prometheus: they only grow, every bin is there, digests stay apart, and there are not too many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from native.plane.layout import DRIFT_BUCKETS
from protos.roost.v1 import admin_pb2
from registry_client.baseline.document import Feature, Kind
from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.exported import ExportedCollector, merged_bin_names, places_shown
from server.control.drift.readings import Reading, Source
from server.control.drift.signals import signals_of
from server.judgement.drift.reference import RARE_BELOW
from tests.control.drift.counted_seats import DIGEST, MODEL, MONDAY, OTHER, Clock
from tests.control.drift.scraped_fleet import AGE, PLAN, ScrapedServer, artifact_of, fleet, known_of, psi_of
from tests.control.drift.test_watching import (
    ROWS_A_SLICE,
    SLICES_A_MINUTE,
    Traffic,
    baseline,
    in_cache,
    settings,
    traffic,
)
from tests.control.driven_server import new_plane, push, serving


def samples(server: Any, family: str = "roost_drift_rows", features_max: int = 50) -> list[Sample]:
    (found,) = [one for one in ExportedCollector(server, features_max).collect() if one.name == family]
    return found.samples


def counts(server: Any, feature: str) -> dict[str, float]:
    return {one.labels["bin"]: one.value for one in samples(server) if one.labels["feature"] == feature}


def wide(features: int, importances: list[float | None] | None = None) -> ArtifactBaseline:
    known = importances or [None] * features
    return artifact_of(
        DIGEST,
        [replace(AGE, name=f"f{place}", column=place, importance=known[place]) for place in range(features)],
    )


def server_of(artifact: ArtifactBaseline) -> ScrapedServer:
    return ScrapedServer("a", artifact, np.zeros(artifact.bins, dtype=np.int64))


def test_rows_are_counted_by_the_bins_that_judgement_merges() -> None:
    server = fleet()[1]
    server.count()
    server.count()
    assert counts(server, "age") == {
        "00 18 to 30": 8, "01 30 to 45": 20, "02 45 to 60": 52, "03 60 to 90": 100, "04 missing": 4, "05 rare": 16,
    }  # fmt: skip
    assert counts(server, "plan") == {"00 1": 80, "01 2": 80, "02 3": 30, "03 rare": 10}
    assert {one.labels["digest"] for one in samples(server)} == {DIGEST[:12]}
    assert {(one.labels["signal"], one.labels["feature"]) for one in samples(server)} == {
        ("inputs", "age"), ("inputs", "plan"), ("predictions", "score"),
    }  # fmt: skip


def test_every_bin_is_there_before_the_first_row_and_the_reference_beside_it() -> None:
    server = fleet()[0]
    rows, reference = samples(server), samples(server, "roost_drift_reference_rows")
    assert {one.value for one in rows} == {0}
    assert [one.labels for one in rows] == [one.labels for one in reference]
    of_age = {one.labels["bin"]: one.value for one in reference if one.labels["feature"] == "age"}
    assert list(of_age.values()) == [2600, 3400, 2500, 1478, 20, 2]
    assert sum(count < RARE_BELOW for count in AGE.counts) > 1


def test_a_generation_that_leaves_takes_no_row_along() -> None:
    artifact = artifact_of(DIGEST, [PLAN])
    server, clock, seen = server_of(artifact), Clock(), []
    one, two = (np.zeros((DRIFT_BUCKETS, artifact.bins), dtype=np.int64) for _ in range(2))
    sources = [[(Source(0, 1), one)], [(Source(0, 1), one), (Source(1, 1), two)], [(Source(1, 1), two)],
               [(Source(0, 7), one), (Source(1, 1), two)]]  # fmt: skip
    for step, present in enumerate(sources):
        if step == 3:
            one[:] = 0  # another generation: its counts begin anew
        for _, words in present:
            words[2, :3] += (5, 2, 1)
        clock.step(10**9)
        readings = [Reading(MODEL, DIGEST, source, words) for source, words in present]
        server.book.observe(readings, at_utc_ns=clock.at_utc_ns, now_ns=clock.now_ns)
        seen.append(counts(server, "plan")["00 1"])
    assert seen == [5, 15, 20, 30]


def test_only_the_stable_s_rows_are_shown_and_another_stable_has_series_of_its_own() -> None:
    server = fleet()[0]
    server.count()
    other = artifact_of(OTHER, [PLAN])
    words = np.ones((DRIFT_BUCKETS, other.bins), dtype=np.int64)
    server.clock.step(10**9)
    reading = Reading(MODEL, OTHER, Source(3, 1), words)
    server.book.observe([reading], at_utc_ns=server.clock.at_utc_ns, now_ns=server.clock.now_ns)
    collector = ExportedCollector(server, 50)
    before = [sample for family in collector.collect() for sample in family.samples]
    assert {one.labels.get("digest", DIGEST[:12]) for one in before} == {DIGEST[:12]}
    server.models[MODEL] = known_of(other)
    after = [sample for family in collector.collect() for sample in family.samples]
    assert {one.labels.get("digest", OTHER[:12]) for one in after} == {OTHER[:12]}
    assert sum(one.value for one in after if one.name == "roost_drift_rows_total") == words.sum()


def test_the_most_important_features_are_shown_in_the_baseline_s_order_and_the_rest_is_counted() -> None:
    server = server_of(wide(6, [0.1, 0.5, None, 0.5, 0.0, 0.7]))
    for features_max, shown in ((0, []), (1, ["f5"]), (3, ["f1", "f3", "f5"]), (4, ["f0", "f1", "f3", "f5"]),
                                (6, [f"f{n}" for n in range(6)]), (50, [f"f{n}" for n in range(6)])):  # fmt: skip
        found = samples(server, features_max=features_max)
        assert list(dict.fromkeys(one.labels["feature"] for one in found)) == shown
        (left_out,) = samples(server, "roost_drift_features_left_out", features_max)
        assert left_out.value == 6 - len(shown)
        assert left_out.labels == {"model": MODEL, "signal": "inputs"}


def test_where_importance_is_not_known_the_first_features_are_shown() -> None:
    assert places_shown([replace(AGE, name=str(n)) for n in range(9)], 4) == (0, 1, 2, 3)


def test_which_series_there_are_does_not_change_with_what_is_counted() -> None:
    server = server_of(wide(60))
    server.rows = np.ones(server.artifact.bins, dtype=np.int64)
    collector, seen = ExportedCollector(server, 50), set()
    for _ in range(5):
        seen.add(tuple(str(one.labels) for family in collector.collect() for one in family.samples))
        server.rows = np.roll(server.rows * 3, 1)
        server.count()
    assert len(seen) == 1


def test_a_wide_model_has_as_many_series_as_the_setting_says() -> None:
    points = tuple(float(n) for n in range(18))
    features = [Feature(f"f{n}", "x", n, Kind.NUMBER, points, (9,) * 21) for n in range(512)]
    server = server_of(artifact_of(DIGEST, features))
    found = [one for family in ExportedCollector(server, 50).collect() for one in family.samples]
    assert len(found) == 2 * 50 * 21 + 1


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_codes_that_read_alike_and_names_with_quotes_are_series_of_their_own(accept: str) -> None:
    alike = Feature('a "quoted"\\ name', "x", 0, Kind.CATEGORY, (1000001.0, 1000002.0), (50, 60, 0, 0, 0))
    assert alike.bins[0] == alike.bins[1]
    server = server_of(artifact_of(DIGEST, [alike]))
    server.rows[:2] = 3, 4
    server.count()
    registry = CollectorRegistry()
    registry.register(ExportedCollector(server, 50))
    encode, _ = choose_encoder(accept)
    text = encode(registry).decode().removesuffix("# EOF\n")
    lines = [line for line in text.splitlines() if line.startswith("roost_drift_rows_total")]
    assert len({line.rpartition(" ")[0] for line in lines}) == 3
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 7
    if accept == "text/plain":
        (rows,) = [one for one in text_string_to_metric_families(text) if one.name == "roost_drift_rows"]
        assert {one.labels["feature"] for one in rows.samples} == {alike.name}


def test_a_rare_level_that_is_alone_keeps_its_name() -> None:
    names = merged_bin_names(PLAN, np.array([0, 1, 2, 3, 3, 3]))
    assert names == ("00 1", "01 2", "02 3", "03 rare")
    assert merged_bin_names(PLAN, np.array([0, 1, 5, 2, 3, 4])) == (
        "00 1", "01 2", "02 other", "03 missing", "04 non-finite", "05 3",
    )  # fmt: skip


def total(world: Traffic) -> float:
    """Rows, by the counters of each feature, which all agree."""
    by_feature: dict[str, float] = {}
    for one in samples(world.server.drift):
        by_feature[one.labels["feature"]] = by_feature.get(one.labels["feature"], 0) + one.value
    assert len(set(by_feature.values())) == 1, by_feature
    return next(iter(by_feature.values()))


async def test_what_workers_count_is_what_is_scraped(tmp_path: Path) -> None:
    async with traffic(tmp_path) as world:
        assert samples(world.server.drift) == []
        await world.minutes(2)
        assert total(world) == 2 * SLICES_A_MINUTE * ROWS_A_SLICE
        assert {one.labels["signal"] for one in samples(world.server.drift)} == {"inputs", "predictions"}


async def test_counts_of_two_lives_of_control_are_all_rows_once(tmp_path: Path) -> None:
    digest = push(tmp_path / "registry", 1, aliases=("stable",), baseline=baseline())
    in_cache(tmp_path)
    clock, plane, seen = Clock(), new_plane(boot=MONDAY), []
    clocks = {"utc_ns": lambda: clock.at_utc_ns, "now_ns": lambda: clock.now_ns}
    for _ in range(2):
        async with serving(settings(tmp_path), plane, digest, drift_clock=clocks) as server:
            await server.until(lambda server=server: server.digest("stable") == digest)
            world = Traffic(server, clock)
            await world.minutes(1)
            world.count()
            await server.drift.stop()
            seen.append(total(world))
            world.count()  # while nobody reads
    a_minute = SLICES_A_MINUTE * ROWS_A_SLICE
    assert seen == [a_minute + ROWS_A_SLICE, a_minute + 2 * ROWS_A_SLICE]


async def replies(folder: Path, shifts: tuple[float, ...]) -> list[admin_pb2.GetDriftReply]:
    """Of servers of one bundle, each with other traffic."""
    found = []
    for number, shift in enumerate(shifts):
        (folder / str(number)).mkdir()
        async with traffic(folder / str(number)) as world:
            world.random = np.random.default_rng(number)
            await world.minutes(2, shift)
            found.append(await world.reply(counts_of="minute"))
    return found


def by_place(found: list[admin_pb2.GetDriftReply]) -> Iterator[tuple[admin_pb2.FeatureCounts, ...]]:
    return zip(*(reply.counts for reply in found), strict=True)


async def test_counts_of_several_servers_answers_add_up_by_place_as_the_guide_says(tmp_path: Path) -> None:
    found = await replies(tmp_path, (0.0, 1.0))
    assert len({reply.artifact.digest for reply in found}) == 1
    starts = {one.start_utc for reply in found for one in reply.windows if one.length == "minute"}
    assert len(starts) == 1
    merged = []
    for one, other in by_place(found):
        assert (one.signal, one.name, one.bins, one.reference) == (
            other.signal, other.name, other.bins, other.reference
        )  # fmt: skip
        merged.append(np.array(one.window) + np.array(other.window))
    assert {counts.sum() for counts in merged} == {2 * SLICES_A_MINUTE * ROWS_A_SLICE}
    known = baseline()
    (inputs, _) = signals_of(artifact_of(DIGEST, known.inputs, known.predictions))
    value, _, rows = psi_of(inputs, np.concatenate(merged[:3]))
    assert set(rows.tolist()) == {2 * SLICES_A_MINUTE * ROWS_A_SLICE}
    alone = [next(one for one in reply.windows if one.length == "minute").features for reply in found]
    of_x0 = [next(feature.psi for feature in features if feature.name == "x0") for features in alone]
    assert of_x0[0] < value[0] < of_x0[1]


def test_the_book_s_counts_are_none_before_a_reading_and_nobody_s_to_write_to() -> None:
    server = server_of(artifact_of(DIGEST, [PLAN]))
    assert server.book.counted(MODEL, DIGEST) is None
    server.rows[0] = 5
    server.count()
    found = server.book.counted(MODEL, DIGEST)
    assert found is not None
    assert found.tolist() == [5, 0, 0, 0, 0, 0]
    assert not found.flags.writeable
    assert server.book.counted(MODEL, OTHER) is None
