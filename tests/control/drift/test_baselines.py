"""Baselines by digest: arrays in the order in which rows are counted, or a reason for people why there are none."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from native.plane.layout import DRIFT_BINS_MAX
from registry_client.baseline.document import ARGMAX, BASELINE_FILE, HOURS_OF_WEEK, Baseline, Feature, Kind
from registry_client.cache import BundleCache
from registry_client.manifest import FileEntry, Manifest, sha256_hex
from registry_client.tensors import Datatype, Signature, TensorSpec
from registry_client.verify import VerifiedBundle
from server.control.drift.baselines import ArtifactBaseline, Baselines, NoBaseline, baseline_of

AGE = Feature("age", "x", 0, Kind.NUMBER, (1.0, 2.0, 4.0), (0, 30, 60, 1, 9, 0), importance=0.5)
CODE = Feature("code", "x", 1, Kind.CATEGORY, (7.0, 8.0), (50, 40, 10, 0, 0))
CLASS = Feature("class", "y", ARGMAX, Kind.CATEGORY, (0.0, 1.0), (70, 30, 0, 0, 0))
BASELINE = Baseline(100, 0.0, (AGE, CODE), (CLASS,))
SIGNATURE = Signature((TensorSpec("x", Datatype.FP32, (-1, 2)),), (TensorSpec("y", Datatype.FP32, (-1, 2)),))


def bundle(baseline: bytes | None) -> VerifiedBundle:
    files = {"model.onnx": b"model", "golden.json": b"golden"}
    if baseline is not None:
        files[BASELINE_FILE] = baseline
    entries = {name: FileEntry(sha256_hex(content), len(content)) for name, content in files.items()}
    manifest = Manifest("employment", entries, SIGNATURE)
    return VerifiedBundle(manifest, manifest.digest, files)


def found(baseline: Baseline) -> ArtifactBaseline:
    there = baseline_of(bundle(baseline.to_bytes()))
    assert isinstance(there, ArtifactBaseline), there
    return there


def test_bins_lie_end_to_end_inputs_first_then_predictions() -> None:
    there = found(BASELINE)
    assert there.offsets.tolist() == [0, 6, 11, 16]
    assert there.bins == 16
    assert there.names == ("age", "code", "class")
    assert there.inputs == 2
    assert there.reference.tolist() == [*AGE.counts, *CODE.counts, *CLASS.counts]
    assert there.digest == bundle(BASELINE.to_bytes()).digest
    assert there.of_feature(there.reference, 1).tolist() == list(CODE.counts)
    assert there.of_feature(np.stack([there.reference] * 3), 2).shape == (3, 5)
    assert there.rows(there.reference) == 100


def test_an_hour_of_the_week_is_there_where_every_feature_has_it() -> None:
    def with_hours(feature: Feature) -> Feature:
        hours = [tuple([0] * len(feature.counts)) for _ in range(HOURS_OF_WEEK)]
        hours[30] = feature.counts
        return replace(feature, by_hour=tuple(hours))

    all_of_them = found(Baseline(100, 0.0, (with_hours(AGE), with_hours(CODE)), (with_hours(CLASS),)))
    at_thirty, at_none = all_of_them.reference_at(30), all_of_them.reference_at(31)
    assert at_thirty is not None
    assert at_none is not None
    assert at_thirty.tolist() == all_of_them.reference.tolist()
    assert not at_none.any()
    assert found(Baseline(100, 0.0, (with_hours(AGE), CODE), (CLASS,))).reference_at(30) is None


def test_counts_of_two_artifacts_may_be_added_where_each_bin_means_the_same() -> None:
    other_rows = Baseline(100, 0.0, (replace(AGE, counts=(0, 60, 30, 1, 9, 0)), CODE), (CLASS,))
    other_edges = Baseline(100, 0.0, (replace(AGE, points=(1.0, 2.5, 4.0)), CODE), (CLASS,))
    assert found(BASELINE).has_bins_of(found(other_rows))
    assert not found(BASELINE).has_bins_of(found(other_edges))
    moved = Baseline(100, 0.0, (AGE,), (replace(CODE, tensor="y"), CLASS))
    assert not found(BASELINE).has_bins_of(found(moved))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "employment: its bundle has no baseline.json, .* with roost bundle --reference"),
        (b"{}", "baseline.json.*format"),
        (Baseline(100, 0.0, (replace(AGE, tensor="z"),), ()).to_bytes(), r"inputs\[0\].tensor: expected the name"),
        (Baseline(100, 0.0, (replace(AGE, column=2),), ()).to_bytes(), r"inputs\[0\].column: expected a place"),
    ],
)
def test_a_bundle_without_a_fitting_baseline_says_why(content: bytes | None, said: str) -> None:
    there = baseline_of(bundle(content))
    assert isinstance(there, NoBaseline)
    assert re.search(said, there.reason), there.reason


def test_more_bins_than_the_plane_has_room_for_are_refused() -> None:
    many = tuple(
        Feature(f"f{index}", "x", index, Kind.NUMBER, tuple(map(float, range(60))), (1,) * 63)
        for index in range(DRIFT_BINS_MAX // 63 + 1)
    )
    wide = Signature((TensorSpec("x", Datatype.FP32, (-1, 1000)),), SIGNATURE.outputs)
    small = bundle(Baseline(63, 0.0, many, ()).to_bytes())
    there = baseline_of(replace(small, manifest=replace(small.manifest, signature=wide)))
    assert isinstance(there, NoBaseline)
    assert f"expected at most {DRIFT_BINS_MAX} bins of all features together" in there.reason


def test_what_was_read_is_remembered_and_what_could_not_be_is_tried_again(tmp_path: Path) -> None:
    cache, one = BundleCache(tmp_path), bundle(BASELINE.to_bytes())
    baselines = Baselines(cache)
    missing = baselines.read(one.digest)
    assert isinstance(missing, NoBaseline)
    assert "can't be read from the cache, and drift is not seen: " in missing.reason
    assert one.digest not in baselines.known
    cache.put(one)
    there = baselines.read(one.digest)
    assert isinstance(there, ArtifactBaseline)
    (tmp_path / one.digest / BASELINE_FILE).unlink()
    assert baselines.read(one.digest) is there is baselines.known[one.digest]
