"""The `drift` profile: rows that are as the baseline says, shifts of a stated size, and the alarm of a real server."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from benchmarks.servers import REPOSITORY, Served, roost_registry_command, served
from loadtests.drift_watched import DriftWatched
from loadtests.drifting_rows import cases_of, deviation_of, made_up_rows, real_rows, shifted
from protos.roost.v1 import admin_pb2
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import Baseline, Feature, Kind
from registry_client.errors import BadDocument
from registry_client.onnx_model import read_onnx
from registry_client.tensors import Datatype, Signature, TensorSpec
from registry_client.verify import read_verified
from server.drills.model import DEVIATIONS, FEATURES, INPUT, NAME, Versions, baseline, model_bytes, population

# A minute has to end; the first start after a change compiles all kernels.
pytestmark = [pytest.mark.patient, pytest.mark.timeout(240)]

PROFILE_S_MAX = 120
CONTENT = model_bytes()
SIGNATURE = read_onnx(CONTENT).signature
BASELINE = baseline(CONTENT)
RANDOM = np.random.default_rng(11)


@dataclass(frozen=True)
class Place:
    server: Served
    versions: Versions

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and all output of `python -m loadtests.drift`."""
        where = ["--target", self.server.target, "--admin", self.server.ready["admin"], "--model", NAME]
        ended = subprocess.run(
            [
                sys.executable, "-m", "loadtests.drift", *where, "--registry", str(self.versions.registry),
                "-u", "4", "-r", "4", *arguments,
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PROFILE_S_MAX,
            check=False,
        )  # fmt: skip
        return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("drifting")
    versions = Versions(folder)
    versions.push(CONTENT, BASELINE)
    config = folder / "roost.toml"
    config.write_text('[drift]\nseason = "off"\n')
    command = roost_registry_command(str(versions.registry), f"{NAME}@stable", "--state", str(folder / "state"))
    with served([*command, "--config", str(config)], folder) as server:
        yield Place(server, versions)


def test_a_shift_under_load_is_answered_rightly_and_told_with_its_minute(place: Place) -> None:
    left_s = 60 - time.time() % 60
    run_s = math.ceil(left_s + (60 if left_s < 15 else 0) + 2)
    code, output = place.run("--shift-feature", "monthly_spend", "--shift-after", "2", "-t", f"{run_s}s")
    assert code == 0, output
    told = re.search(r"^drift: inputs: the alarm came ([\d.]+) s after the shift, by the minute\. (.+)$", output, re.M)
    assert told is not None, output
    assert 0 < float(told[1]) <= run_s
    assert "Moved: monthly_spend" in told[2]


def test_a_run_that_is_too_short_for_its_shift_fails(place: Place) -> None:
    code, output = place.run("--shift-feature", "age", "--shift-after", "60", "-t", "1s")
    assert code == 1
    assert "expected a run of more than --shift-after 60 s" in output


def test_real_rows_are_replayed_and_nothing_is_expected_of_them(place: Place, tmp_path: Path) -> None:
    rows = parquet(tmp_path, population(np.random.default_rng(4), 300))
    code, output = place.run("--rows", str(rows), "-t", "1s")
    assert code == 0, output
    assert re.search(r"^grpc +Predict +[1-9]", output, re.M)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shift-feature", "speed"), "--shift-feature: expected an input that is a number (age, tenure_months"),
        (("--rows", "nothing.parquet"), "nothing.parquet"),
    ],
)
def test_what_can_not_be_staged_ends_at_once_and_is_said(place: Place, arguments: tuple[str, ...], said: str) -> None:
    code, output = place.run(*arguments, "-t", "20s")
    assert code == 1
    assert said in output
    assert "Traceback" not in output


# --- Rows, without a server ------------------------------------------------------------------------------------------
def parquet(folder: Path, rows: np.ndarray) -> Path:
    columns = {name: rows[:, index] for index, name in enumerate(FEATURES)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "rows.parquet")
    return folder / "rows.parquet"


def test_made_up_rows_fall_into_the_bins_as_the_references_did() -> None:
    rows = made_up_rows(SIGNATURE, BASELINE, 50_000, np.random.default_rng(0))[INPUT]
    assert rows.dtype == np.float32
    for feature in BASELINE.inputs:
        found = np.bincount(bins_of(feature, rows[:, feature.column]), minlength=len(feature.counts)) / len(rows)
        assert found == pytest.approx(np.array(feature.counts) / BASELINE.rows, abs=0.01)


def mixed() -> tuple[Signature, Baseline]:
    """A whole number with edges, a category, and a number that is missing in a half of the rows."""
    inputs = (
        Feature("count", "whole", 0, Kind.NUMBER, (0.0, 3.0, 9.0), (0, 30, 70, 0, 0, 0)),
        Feature("code", "whole", 1, Kind.CATEGORY, (1.0, 5.0), (60, 20, 20, 0, 0)),
        Feature("size", "part", 0, Kind.NUMBER, (0.0, 1.0, 2.0), (0, 25, 25, 0, 50, 0)),
    )
    specs = (TensorSpec("whole", Datatype.INT64, (-1, 2)), TensorSpec("part", Datatype.FP32, (-1, 1)))
    return Signature(specs, specs[1:]), Baseline(100, 0.0, inputs, ())


def test_whole_numbers_codes_and_missing_values_keep_their_shares() -> None:
    signature, reference = mixed()
    rows = made_up_rows(signature, reference, 20_000, np.random.default_rng(1))
    for feature in reference.inputs:
        values = rows[feature.tensor].reshape(20_000, -1)[:, feature.column]
        found = np.bincount(bins_of(feature, values), minlength=len(feature.counts)) / len(values)
        assert found == pytest.approx(np.array(feature.counts) / 100, abs=0.02), feature.name
    assert rows["whole"].dtype == np.int64


def test_a_shift_is_of_the_references_own_deviations_and_of_one_feature() -> None:
    usual = made_up_rows(SIGNATURE, BASELINE, 1000, RANDOM)
    moved = shifted(SIGNATURE, BASELINE, usual, "age", -2.0)
    difference = moved[INPUT] - usual[INPUT]
    assert difference[:, 1:] == pytest.approx(0)
    assert difference[:, 0] == pytest.approx(-2.0 * DEVIATIONS[0], rel=0.05)


def test_the_deviation_of_a_number_comes_from_its_bins() -> None:
    found = [deviation_of(feature) for feature in BASELINE.inputs]
    assert found == pytest.approx(DEVIATIONS.tolist(), rel=0.05), "although the outermost bins are wide"


def test_a_category_is_not_shifted() -> None:
    signature, reference = mixed()
    rows = made_up_rows(signature, reference, 10, RANDOM)
    with pytest.raises(ValueError, match=r"expected an input that is a number \(count, size\), got 'code'"):
        shifted(signature, reference, rows, "code", 1.0)


def test_real_rows_come_in_their_files_order_and_as_the_model_takes_them(place: Place, tmp_path: Path) -> None:
    rows = population(np.random.default_rng(4), 300)
    bundle = read_verified(place.versions.registry.parent / "bundle-1")
    found = real_rows(bundle, parquet(tmp_path, rows))[INPUT]
    assert (found == rows).all()
    (tmp_path / "no.parquet").write_bytes(b"nothing")
    with pytest.raises(BadDocument):
        real_rows(bundle, tmp_path / "no.parquet")


def test_calls_use_each_row_once_in_their_order() -> None:
    rows = population(np.random.default_rng(5), 10)
    cases = cases_of(NAME, {"1": CONTENT}, {INPUT: rows}, [3, 4, 5, 6])
    assert [case.predict.inputs[0].shape[0] for case in cases] == [3, 4, 3]
    raw = b"".join(case.predict.inputs[0].raw for case in cases)
    assert raw == rows.tobytes()


# --- What the server said --------------------------------------------------------------------------------------------
def reply(end_utc: str, verdict: str, signal: str = "inputs", why: str = "because") -> admin_pb2.GetDriftReply:
    window = admin_pb2.DriftWindow(signal=signal, length="minute", end_utc=end_utc, verdict=verdict, why=why)
    return admin_pb2.GetDriftReply(model=NAME, windows=[window])


MINUTE = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def test_the_first_window_with_drift_after_the_shift_is_the_alarm() -> None:
    watched = DriftWatched(MINUTE + 1)
    watched.note(reply("2026-01-01T00:00:00.000Z", "drift"), MINUTE + 2)
    assert watched.alarm("inputs") is None, "that window ended before the run"
    watched.note(reply("2026-01-01T00:01:00.000Z", "quiet"), MINUTE + 61)
    watched.shifted_s = MINUTE + 70
    for seen_s in (121.0, 122.0):
        watched.note(reply("2026-01-01T00:02:00.000Z", "drift"), MINUTE + seen_s)
    alarm = watched.alarm("inputs")
    assert alarm is not None
    assert (alarm.seen_s, watched.early("inputs")) == (MINUTE + 121, None)
    assert watched.lines() == ["inputs: the alarm came 51.0 s after the shift, by the minute. because"]


def test_drift_before_the_shift_is_early_and_no_alarm() -> None:
    watched = DriftWatched(MINUTE, shifted_s=MINUTE + 65)
    watched.note(reply("2026-01-01T00:01:00.000Z", "drift"), MINUTE + 61)
    watched.note(reply("2026-01-01T00:02:00.000Z", "not_enough", why="No rows in this window."), MINUTE + 121)
    assert watched.early("inputs") is not None
    assert watched.alarm("inputs") is None
    assert watched.lines() == [
        "inputs had drifted before the shift: because",
        "inputs: no alarm in 2 windows; the last minute: not_enough. No rows in this window.",
    ]


def test_without_a_window_the_servers_reason_is_said() -> None:
    watched = DriftWatched(MINUTE)
    watched.note(admin_pb2.GetDriftReply(model=NAME, reason="No window has ended yet."), MINUTE + 1)
    assert watched.lines() == ["no window has ended meanwhile: No window has ended yet."]
