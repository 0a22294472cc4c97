"""Real data through a running server, and the same rows by `roost replay`: both say the same.

All rows of a model are sent within one minute of the clock, so that one window has them all.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.servers import Served, roost_registry_command, served
from pipelines.employment.features import FEATURES
from pipelines.examples import Split
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from registry_client.folder import FolderRegistry
from registry_client.verify import read_verified
from tests.behaviour.messages import predict_request
from tests.replay.made import roost
from tests.replay.test_real_data import (
    HOUSING,
    LOANS,
    OFF,
    bundle_of,
    coded,
    employment,
    frames,
    wheel,
    years,
)
from tests.worker.operated import predict

__all__ = ["employment", "wheel", "years"]  # fixtures

pytestmark = [pytest.mark.patient, pytest.mark.timeout(240)]

ROWS_A_CALL, CALLS_AT_ONCE = 500, 8
SENDING_S_MAX = 25.0  # of a minute, for all of them
LOANS_DRIFT_FROM = 25_000


@dataclass(frozen=True)
class Sent:
    """A served model's bundle, and all rows that it was given, in the order of `columns`."""

    bundle: Path
    rows: np.ndarray
    columns: tuple[str, ...]


@dataclass(frozen=True)
class World:
    server: Served
    sent: dict[str, Sent]
    replies: dict[str, admin_pb2.GetDriftReply]


@pytest.fixture(scope="module")
def world(wheel: Path, employment: Path, years: Split, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("server")
    housing, loans = (frames(wheel, name) for name in ("california_housing", "synthetic_car_loan"))
    known, houses = coded(*housing, HOUSING)
    before, cars = coded(*loans, LOANS)
    random = np.random.default_rng(3)
    sent = {
        "employment": Sent(employment, random.permutation(years.evaluation.numbers), FEATURES.names),
        "housing": Sent(bundle_of(folder / "housing", known, HOUSING, name="housing"), houses, HOUSING),
        "loans": Sent(bundle_of(folder / "loans", before, LOANS, name="loans"), cars[LOANS_DRIFT_FROM:], LOANS),
    }
    registry = FolderRegistry(folder / "registry")
    for one in sent.values():
        registry.push(one.bundle, aliases=("stable",))
    config = folder / "roost.toml"
    config.write_text('[drift]\nseason = "off"\n')
    command = roost_registry_command(str(folder / "registry"), "employment@stable", "--state", str(folder / "state"))
    others = [part for name in ("housing", "loans") for part in ("--model", f"{name}@stable")]
    with served([*command, *others, "--config", str(config)], folder) as server:
        _send_within_a_minute(server, sent)
        with grpc.insecure_channel(server.ready["admin"]) as channel:
            stub = admin_pb2_grpc.AdminStub(channel)
            yield World(server, sent, {name: _reply(stub, name, len(one.rows)) for name, one in sent.items()})


def _send_within_a_minute(server: Served, sent: dict[str, Sent]) -> None:
    left_s = 60 - time.time() % 60
    if left_s < SENDING_S_MAX:
        time.sleep(left_s + 1)
    minute = time.time() // 60
    with grpc.insecure_channel(server.target) as channel:
        for name, one in sent.items():
            tensor = read_verified(one.bundle).manifest.signature.inputs[0].name
            parts = np.array_split(one.rows, math.ceil(len(one.rows) / ROWS_A_CALL))
            for first in range(0, len(parts), CALLS_AT_ONCE):
                requests = [predict_request(name, {tensor: part}) for part in parts[first : first + CALLS_AT_ONCE]]
                for call in [predict(channel).future(request, timeout=60) for request in requests]:
                    call.result()
    assert time.time() // 60 == minute, "all of it lies in one window"


def _reply(stub: Any, name: str, rows: int) -> admin_pb2.GetDriftReply:
    """Once the minute has ended."""
    deadline_s = time.monotonic() + 90
    while True:
        reply = stub.GetDrift(admin_pb2.GetDriftRequest(model=name), timeout=20)
        if any(window.rows == rows for window in reply.windows):
            return reply
        assert time.monotonic() < deadline_s, reply
        time.sleep(0.5)


def minute(world: World, name: str) -> admin_pb2.DriftWindow:
    return next(one for one in world.replies[name].windows if (one.signal, one.length) == ("inputs", "minute"))


def by_replay(world: World, name: str, folder: Path) -> dict[str, Any]:
    """The same rows with times in one minute: what it says of the inputs."""
    one = world.sent[name]
    path = folder / "rows.parquet"
    at = np.datetime64("2026-09-28T00:00:00", "us") + np.linspace(0, 50_000_000, len(one.rows)).astype("m8[us]")
    pq.write_table(pa.table({**{c: one.rows[:, i] for i, c in enumerate(one.columns)}, "at": at}), path)
    found = roost(one.bundle, path, "--time", "at", "--window", "minute", *OFF, "--json").document()
    (told,) = [one for one in found["timeline"] if one["signal"] == "inputs"]
    return dict(told)


def test_three_years_of_the_census_stay_quiet(world: World, tmp_path: Path) -> None:
    window = minute(world, "employment")
    assert window.verdict == "quiet", window.why
    assert max(feature.psi for feature in window.features) < 0.06
    assert not any(feature.moved for feature in window.features)
    check_agreement(world, "employment", tmp_path)


@pytest.mark.parametrize(("name", "moved"), [("housing", {"Latitude"}), ("loans", {"car_value"})])
def test_data_that_drifts_alarms_and_names_what_moved(
    world: World, name: str, moved: set[str], tmp_path: Path
) -> None:
    window = minute(world, name)
    assert window.verdict == "drift", window.why
    assert moved <= {feature.name for feature in window.features if feature.moved}
    assert window.features[0].name in moved
    check_agreement(world, name, tmp_path)


def check_agreement(world: World, name: str, folder: Path) -> None:
    """PSI is of sums, and the same to the last digits; what it is worth hangs on who came beside whom."""
    window, told = minute(world, name), by_replay(world, name, folder)
    assert (told["verdict"], told["rows"]) == (window.verdict, window.rows), json.dumps(told, indent=1)
    largest = max(window.features, key=lambda feature: feature.psi)
    assert told["largest_psi"]["feature"] == largest.name
    assert told["largest_psi"]["psi"] == pytest.approx(largest.psi, rel=1e-9)
    by_name = {feature["name"]: feature for feature in told["moved"]}
    assert by_name.keys() == {feature.name for feature in window.features if feature.moved}
    for feature in window.features:
        if feature.moved:
            assert by_name[feature.name]["psi"] == pytest.approx(feature.psi, rel=1e-9)
