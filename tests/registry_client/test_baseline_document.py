"""The baseline file and the bundle around it: one spelling, nothing that contradicts itself or the model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from registry_client import canonical_json
from registry_client.baseline.document import ARGMAX, BASELINE_FILE, BINS_MAX, Baseline, Feature, Kind, read_baseline
from registry_client.errors import BadDocument, VerificationFailed
from registry_client.reference_run import ReferenceRun
from registry_client.verify import VerifiedBundle, check_contents, read_verified

NUMBER = Feature("a", "x", 0, Kind.NUMBER, (0.0, 1.5, 3.0), (0, 60, 40, 0, 0, 0), importance=0.25)
CATEGORY = Feature("b", "x", 1, Kind.CATEGORY, (1.0, 2.0), (50, 45, 5, 0, 0))
ANSWER = Feature("y[0]", "y", 0, Kind.NUMBER, (0.0, 6.0), (0, 100, 0, 0, 0))
LARGEST = Feature("y[argmax]", "y", ARGMAX, Kind.CATEGORY, (0.0, 1.0, 2.0), (30, 30, 40, 0, 0, 0))
SOUND = Baseline(100, 0.0, (NUMBER, CATEGORY), (ANSWER, LARGEST))


def changed(path: list[str | int], value: object) -> bytes:
    document = json.loads(SOUND.to_bytes())
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return canonical_json.encode(document)


def test_what_was_written_is_read_and_its_bins_have_names():
    assert read_baseline(SOUND.to_bytes()) == SOUND
    assert NUMBER.bins == ("below 0", "0 to 1.5", "1.5 to 3", "above 3", "missing", "non-finite")
    assert CATEGORY.bins == ("1", "2", "other", "missing", "non-finite")


def test_more_bins_than_a_server_has_room_for_are_refused():
    widest = dataclasses.replace(NUMBER, points=tuple(map(float, range(60))), counts=(1,) * 63)
    columns = range(-(-BINS_MAX // 63))
    wide = tuple(dataclasses.replace(widest, name=f"f{column}", column=column) for column in columns)
    with pytest.raises(BadDocument, match="expected at most 16384 bins of all features together, got 16443"):
        read_baseline(Baseline(100, 0.0, wide, ()).to_bytes())
    assert read_baseline(Baseline(100, 0.0, wide[:-1], ()).to_bytes()).inputs[0].name == "f0"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["format"], 2, "format: expected 1, got 2"),
        (["rows"], 0, "rows: expected at least 1, got 0"),
        (["rank_error"], 1.0, "rank_error: expected 0 to 1"),
        (["inputs"], [], "inputs: expected at least one feature"),
        (["inputs", 0, "points"], [0.0, 1.5, 1.5], "points: expected numbers that increase, got 1.5, then 1.5"),
        (["inputs", 0, "points"], [0.0], "inputs[0].points: expected 2 to 60 numbers, got 1"),
        (["inputs", 0, "points"], list(range(61)), "inputs[0].points: expected 2 to 60 numbers, got 61"),
        (["inputs", 0, "counts"], [1, 2], "inputs[0].counts: expected 6 counts, one for each bin, got 2"),
        (["inputs", 0, "counts"], [0, 60, 40, -1, 0, 0], "counts: expected whole numbers of at least 0, got -1"),
        (["inputs", 0, "kind"], "ordinal", "inputs[0].kind: expected number or category, got 'ordinal'"),
        (["inputs", 0, "column"], -2, "inputs[0].column: expected at least -1, got -2"),
        (["inputs", 0, "importance"], -1.0, "inputs[0].importance: expected at least 0"),
        (["inputs", 0, "by_hour"], [[]], "inputs[0].by_hour: expected 168 arrays, got 1"),
        (["inputs", 1, "name"], "a\x1b[2J", "inputs[1].name: expected at most 200 printable characters, got 'a"),
        (["inputs", 1, "name"], "a" * 201, "inputs[1].name: expected at most 200 printable characters, got 'a"),
        (["inputs", 1, "name"], "a", "inputs.name: expected every one once, got a twice"),
        (["inputs", 1, "column"], 0, "inputs.column: expected every one once"),
        (["predictions", 0, "tensor"], "", "predictions[0].name: expected a name"),
    ],
)
def test_a_baseline_that_contradicts_itself_is_refused_by_its_key(path, value, message):
    with pytest.raises(BadDocument) as refusal:
        read_baseline(changed(path, value))
    assert message in str(refusal.value)


def test_another_spelling_is_refused():
    with pytest.raises(BadDocument, match="canonical JSON"):
        read_baseline(SOUND.to_bytes() + b"\n")


# In a bundle of the doubling model: x float32[-1, 3] -> y float32[-1, 3].


def with_features(key: str, *features: Feature) -> Baseline:
    return dataclasses.replace(SOUND, **{key: features})


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        (
            with_features("inputs", dataclasses.replace(NUMBER, tensor="z")),
            "inputs[0].tensor: expected the name of an input: x, got 'z'",
        ),
        (
            with_features("inputs", NUMBER, dataclasses.replace(CATEGORY, column=3)),
            "inputs[1].column: expected a place in the row of x, 0 to 2, got 3",
        ),
        (with_features("inputs", dataclasses.replace(NUMBER, column=ARGMAX)), "inputs[0].column: expected a place"),
        (
            with_features("predictions", dataclasses.replace(ANSWER, tensor="x")),
            "predictions[0].tensor: expected the name of an output: y, got 'x'",
        ),
    ],
)
def test_a_baseline_of_another_model_is_refused_when_it_is_bundled(
    write_bundle_of_doubling, tmp_path, baseline, message
):
    with pytest.raises(VerificationFailed) as refusal:
        write_bundle_of_doubling(tmp_path / "b", baseline=baseline)
    assert f"{BASELINE_FILE}: {message}" in str(refusal.value)
    assert not (tmp_path / "b").exists()


@pytest.fixture
def bundled(write_bundle_of_doubling, tmp_path: Path) -> VerifiedBundle:
    write_bundle_of_doubling(tmp_path / "b", baseline=SOUND)
    return read_verified(tmp_path / "b")


def test_a_bundle_s_baseline_is_under_its_digest(bundled, tmp_path):
    assert bundled.baseline() == SOUND
    assert BASELINE_FILE in bundled.manifest.files
    check_contents(bundled, ReferenceRun(bundled.model_bytes, bundled.manifest.signature))
    content = (tmp_path / "b" / BASELINE_FILE).read_bytes()
    (tmp_path / "b" / BASELINE_FILE).write_bytes(content.replace(b"60", b"61"))
    with pytest.raises(VerificationFailed, match=BASELINE_FILE):
        read_verified(tmp_path / "b")


def test_a_bundle_without_a_baseline_stays_valid(sound_bundle):
    found = read_verified(sound_bundle)
    assert found.baseline() is None
    check_contents(found)


def test_a_baseline_of_another_model_is_refused_when_it_is_verified(bundled):
    other = with_features("inputs", dataclasses.replace(NUMBER, tensor="z")).to_bytes()
    forged = dataclasses.replace(bundled, files={**bundled.files, BASELINE_FILE: other})
    with pytest.raises(VerificationFailed, match=r"inputs\[0\]\.tensor"):
        check_contents(forged)


def test_a_baseline_of_text_is_refused(make_model, tmp_path):
    from onnx import TensorProto, helper

    from registry_client.bundle import write_bundle
    from registry_client.golden import make_golden
    from registry_client.onnx_model import read_onnx

    model_bytes = make_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["rows", 3])],
    )
    words = np.array([[b"a", b"b", b"c"]], dtype=object)
    golden = make_golden(read_onnx(model_bytes).signature, [({"x": words}, {"y": words})])
    with pytest.raises(VerificationFailed, match="an input of numbers, in rows of a fixed size, got x, which is BYTES"):
        write_bundle(tmp_path / "b", name="words", model_bytes=model_bytes, golden=golden, baseline=SOUND)


def test_a_file_of_one_s_own_can_not_take_the_baseline_s_name(write_bundle_of_doubling, tmp_path):
    with pytest.raises(BadDocument, match="expected a name of its own, got one of ours"):
        write_bundle_of_doubling(tmp_path / "b", extra_files={BASELINE_FILE: b"{}"})
