"""What differs between two bundles is named: load, file of code, parameter, library, gate; and nothing is missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_client.lineage.difference import difference
from registry_client.lineage.document import Commit, Difference, Origin
from registry_client.lineage.reading import flat, origin, read_code, read_data
from registry_client.lineage.words import change_words, summary
from registry_client.manifest import FileEntry, Lineage, Manifest, Tolerance
from registry_client.tensors import Datatype, Signature, TensorSpec
from registry_client.verify import read_verified
from tests.registry_client.lineage.made_versions import bundled, code, data, digest, evaluation, parameters
from tests.registry_client.lineage.test_lineage_reading import OBJECTS

FILES = {"model.onnx": FileEntry("a" * 64, 10), "golden.json": FileEntry("b" * 64, 20)}
SIGNATURE = Signature((TensorSpec("x", Datatype.FP32, (-1, 3)),), (TensorSpec("y", Datatype.FP32, (-1,)),))
OURS = Manifest("churn", FILES, SIGNATURE, lineage=Lineage(data(), code(), parameters()), meaning={"unit": "minutes"})


def of(manifest: Manifest, gates: Any = None) -> Origin:
    told = manifest.lineage
    return Origin(manifest, manifest.digest, read_data(told.data), read_code(told.code), flat(told.parameters), gates)


def changed(**lineage: Any) -> Origin:
    return of(replace(OURS, lineage=replace(OURS.lineage, **lineage)))


def told(found: Difference) -> dict[tuple[str, str], str]:
    return {(one.part, one.name): change_words(one) for one in found.changes}


def test_a_load_with_other_rows_is_named_and_nothing_that_follows_from_it() -> None:
    after = data({"2018": {"rows": 70_017, "digest": digest("one row less")}}, version=5)
    names = [one.name for one in difference(of(OURS), changed(data=after)).changes]
    assert names == ["table churn, load 2018", "examples for training", "examples for evaluation"]


def test_a_load_that_came_or_went_is_named() -> None:
    more = data({"2019": {"rows": 7, "digest": digest(2019)}}, version=5)
    found = told(difference(of(OURS), changed(data=more)))
    assert found["data", "table churn, load 2019"] == f"added: 7 rows, {digest(2019)[:12]}"
    back = told(difference(changed(data=more), of(OURS)))
    assert back["data", "table churn, load 2019"] == f"removed; it was 7 rows, {digest(2019)[:12]}"


def test_a_table_that_only_has_another_version_is_said_to_have_the_same_rows() -> None:
    found = difference(of(OURS), changed(data=data(version=9)))
    assert told(found) == {("data", "table churn, version (the same rows)"): "4 -> 9"}


def test_rows_that_no_load_explains_are_told_of_the_table() -> None:
    after = data()
    after["tables"]["churn"]["digest"] = digest("another")
    [one] = difference(of(OURS), changed(data=after)).changes
    assert one.name == "table churn, rows"


def test_one_line_of_code_is_told_by_its_file_alone() -> None:
    path = "pipelines/features/graph.py"
    found = difference(of(OURS), changed(code=code({path: digest("edited")})))
    assert told(found) == {("code", path): f"{digest(path)[:12]} -> {digest('edited')[:12]}"}


def test_code_without_files_is_told_by_its_digest() -> None:
    before, after = changed(code={"sha256": digest(1)}), changed(code={"sha256": digest(2)})
    assert [one.name for one in difference(before, after).changes] == ["digest of all files"]


def test_a_parameter_is_told_by_its_dotted_path() -> None:
    assert told(difference(of(OURS), changed(parameters=parameters(150)))) == {
        ("parameters", "train.trees.count"): "100 -> 150"
    }


def test_one_and_one_point_naught_are_two_parameters_as_they_are_two_digests() -> None:
    found = difference(changed(parameters={"a": 1}), changed(parameters={"a": 1.0}))
    assert told(found) == {("parameters", "a"): "1 -> 1.0"}
    assert told(difference(changed(parameters={"a": True}), changed(parameters={"a": 1}))) != {}


def test_a_library_is_told_under_environment() -> None:
    found = difference(of(OURS), changed(code=code(libraries={"lightgbm": "4.8.0"})))
    assert told(found) == {("environment", "lightgbm"): "4.7.0 -> 4.8.0"}


def test_a_null_is_not_nothing() -> None:
    found = difference(changed(parameters={"drill": None}), changed(parameters={}))
    assert told(found) == {("parameters", "drill"): "removed; it was null"}


def test_gates_are_told_by_figure(tmp_path: Path) -> None:
    bundled(tmp_path / "a", report=evaluation(0.905))
    bundled(tmp_path / "b", report=evaluation(0.79))
    before, after = (origin(read_verified(tmp_path / name)) for name in "ab")
    found = told(difference(before, after))
    assert found["gates", "auc_min, measured"] == "0.905 -> 0.79"
    assert found["gates", "auc_min, passed"] == "true -> false"
    assert {name for part, name in found if part == "files"} == {"evaluation.json"}


def test_the_models_bytes_are_said_to_differ_or_not(tmp_path: Path) -> None:
    for name, options in {"a": {}, "b": {"factor": 3.0}, "c": {"card": b"# Another card\n"}}.items():
        bundled(tmp_path / name, **options)
    a, b, c = (origin(read_verified(tmp_path / name)) for name in "abc")
    assert summary(difference(a, b)) == "The model's bytes differ, and so do: golden.json."
    assert summary(difference(a, c)) == "The model's bytes are the same. What differs: card.md."
    assert summary(difference(a, a)) == "They are the same bundle: nothing in it differs."
    assert not difference(a, a).changes


def test_a_commit_is_told_beside_what_the_digest_covers() -> None:
    commits = Commit("a" * 40, dirty=False), Commit("b" * 40, dirty=True)
    found = difference(of(OURS), of(OURS), commits=commits)
    assert {one.name for one in found.changes} == {"commit", "uncommitted changes"}
    assert found.same
    assert not difference(of(OURS), of(OURS), commits=(None, commits[1])).changes


@pytest.mark.parametrize(
    ("after", "part", "name"),
    [
        (replace(OURS, name="other"), "interface", "name"),
        (replace(OURS, class_labels=("no", "yes")), "interface", "class labels"),
        (replace(OURS, tolerance=Tolerance(rtol=1e-4)), "interface", "tolerance of golden answers, rtol"),
        (replace(OURS, signature=Signature(SIGNATURE.inputs, ())), "interface", "output y"),
        (replace(OURS, meaning={"unit": "hours"}), "meaning", "unit"),
        (replace(OURS, files={**FILES, "card.md": FileEntry("c" * 64, 1)}), "files", "card.md"),
        (replace(OURS, files={**FILES, "golden.json": FileEntry("c" * 64, 20)}), "files", "golden.json"),
    ],
)
def test_every_field_of_a_manifest_has_a_name_for_its_change(after: Manifest, part: str, name: str) -> None:
    assert (part, name) in told(difference(of(OURS), of(after)))


def test_an_order_of_inputs_that_changed_is_a_change() -> None:
    two = (TensorSpec("x", Datatype.FP32, (-1,)), TensorSpec("z", Datatype.FP32, (-1,)))
    before, after = (replace(OURS, signature=Signature(inputs, SIGNATURE.outputs)) for inputs in (two, two[::-1]))
    assert ("interface", "order of inputs") in told(difference(of(before), of(after)))


@given(st.tuples(OBJECTS, OBJECTS, OBJECTS, OBJECTS), st.tuples(OBJECTS, OBJECTS, OBJECTS, OBJECTS))
def test_other_digests_never_go_without_a_change_and_equal_ones_have_none(
    first: tuple[dict[str, Any], ...], second: tuple[dict[str, Any], ...]
) -> None:
    before, after = (of(replace(OURS, lineage=Lineage(*one[:3]), meaning=one[3])) for one in (first, second))
    assert bool(difference(before, after).changes) is (before.digest != after.digest)


def test_two_spellings_of_one_fact_are_told_by_the_manifest() -> None:
    before, after = (changed(data={"training": {"rows": 3, key: "ab" * 32}}) for key in ("digest", "sha256"))
    assert [one.name for one in difference(before, after).changes] == ["manifest.json"]
