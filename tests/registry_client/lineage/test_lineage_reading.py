"""Parts of a lineage, read: ours by name, others' by dotted path, nothing lost, what is hostile refused or bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_client.errors import BadDocument
from registry_client.lineage.document import DEPTH_MAX, Commit, Gate, Load, Named, Sample, plain
from registry_client.lineage.reading import flat, read_code, read_data, read_gates, read_object, read_provenance
from registry_client.lineage.shown import shown
from tests.registry_client.lineage.made_versions import code, data, digest, evaluation, provenance

SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
OBJECTS = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


def same(first: object, second: object) -> bool:
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


@given(OBJECTS, OBJECTS)
def test_two_documents_that_differ_have_different_leaves(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert same(flat(first), flat(second)) is same(first, second)


def test_leaves_have_dotted_paths_and_lists_of_plain_values_are_leaves() -> None:
    document = {"train": {"trees": {"count": 100}, "hidden": [32, 16]}, "steps": [{"weight": 0.25}], "empty": {}}
    assert flat(document) == {
        "empty": {}, "steps[0].weight": 0.25, "train.hidden": [32, 16], "train.trees.count": 100
    }  # fmt: skip


def test_our_tables_loads_and_examples_are_read_by_name() -> None:
    found = read_data(data())
    [table] = found.tables
    assert (table.name, table.version, table.rows) == ("churn", 4, 280_066)
    assert table.loads[0] == Load("2015", 70_015, digest(2015))
    assert [sample.name for sample in found.samples] == ["training", "evaluation"]
    assert (found.samples[0].from_utc, found.samples[0].to_utc) == ("2015-01-01", "2015-12-31")
    assert found.source["package"] == "nannyml"
    assert found.other == {}


def test_an_older_manifests_data_are_shown_too() -> None:
    older = {"package": "nannyml", "wheel_sha256": "cf" * 32, "training": {"rows": 3, "sha256": "ab" * 32}}
    found = read_data(older)
    assert found.samples == (Sample("training", 3, "ab" * 32),)
    assert found.other == {"package": "nannyml", "wheel_sha256": "cf" * 32}


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"tables": 3}, "tables"),
        ({"tables": {}}, "tables"),
        ({"tables": {"churn": 3}}, "tables.churn"),
        ({"tables": {"churn": {"version": "4"}}}, "tables.churn.version"),
        ({"tables": {"churn": {"rows": -1}}}, "tables.churn.rows"),
        ({"tables": {"churn": {"rows": True}}}, "tables.churn.rows"),
        ({"tables": {"churn": {"digest": "none"}}}, "tables.churn.digest"),
        ({"tables": {"churn": {"loads": {"2015": None}}}}, "tables.churn.loads.2015"),
        ({"tables": {"churn": {"loads": {"2015": {"file": "a.csv"}}}}}, "tables.churn.loads.2015.file"),
        ({"training": {"rows": 3.5}}, "training.rows"),
        ({"training": "all"}, "training"),
        ({"source": "the web"}, "source"),
    ],
)
def test_what_is_not_of_our_form_is_kept_by_its_path(document: dict[str, Any], path: str) -> None:
    assert path in read_data(document).other


def test_code_is_read_by_file_and_library_and_the_rest_is_kept() -> None:
    found = read_code({**code(), "pipeline": "pipelines.churn"})
    assert found.files["pipelines/training/trees.py"] == digest("pipelines/training/trees.py")
    assert found.libraries["lightgbm"] == "4.7.0"
    assert (found.python, found.other) == ("3.11", {"pipeline": "pipelines.churn"})
    assert read_code({"files": {"a": 3}, "libraries": {"numpy": None}}).other == {"files.a": 3, "libraries.numpy": None}


def test_gates_are_read_with_what_was_measured_and_the_bound() -> None:
    gates = read_gates(evaluation(), "evaluation.json")
    assert gates is not None
    assert gates[0] == Gate("auc_min", 0.905, 0.8, "at least", True, "all", 4096)
    assert read_gates({}, "evaluation.json") is None


@pytest.mark.parametrize("gates", [3, {}, [3], [[]], [{}] * 1001])
def test_gates_that_are_none_are_refused_by_name(gates: object) -> None:
    with pytest.raises(BadDocument, match=r"^evaluation\.json: gates: expected at most 1000 objects"):
        read_gates({"gates": gates}, "evaluation.json")


def test_a_gates_odd_figures_are_none_and_not_made_up() -> None:
    [gate] = read_gates({"gates": [{"measured": "much", "bound": True, "passed": 1, "rows": -1}]}, "x") or ()
    assert (gate.measured, gate.bound, gate.passed, gate.rows) == (None, None, None, None)
    [gate] = read_gates({"gates": [{"measured": 10**400}]}, "x") or ()
    assert gate.measured is None


def test_provenance_is_read() -> None:
    found = read_provenance(provenance({"version": 1, "digest": "ab" * 32}), "provenance.json")
    assert found.commit == Commit("4f2c1d9a8b7e6f5d4c3b2a190817263544f3e2d1", dirty=False)
    assert found.parent == Named(1, "ab" * 32)
    assert found.run["run_id"] == "0f3c"
    assert [gate.name for gate in found.speed] == ["latency_us_max"]
    assert found.other == {"machine": "x86_64"}


@pytest.mark.parametrize(
    "parent", [3, {}, {"version": 1}, {"version": 1, "digest": "no"}, {"digest": "ab" * 32, "x": 1}]
)
def test_a_parent_without_a_digest_is_no_parent(parent: object) -> None:
    assert read_provenance({"parent": parent}, "provenance.json").parent is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000]
)
def test_an_attachment_that_is_no_object_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(BadDocument, match=r"^provenance\.json: "):
        read_object(content, "provenance.json")


def test_a_document_that_is_nested_too_deep_is_refused() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    assert read_object(nested(DEPTH_MAX), "x")
    with pytest.raises(BadDocument, match="expected at most 64 levels"):
        read_object(nested(DEPTH_MAX + 1), "x")


def test_a_manifests_depth_is_bounded_where_it_is_printed() -> None:
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"a": deep}
    assert "deeper than 64 levels" in json.dumps(plain(deep))


@given(st.text(max_size=300) | JSON)
def test_whatever_came_is_shown_on_one_line_within_its_bound(value: object) -> None:
    text = shown(value, 80)
    assert len(text) <= 80
    assert text.isprintable()
    text.encode()  # raises for half of a surrogate pair


def test_an_address_loses_its_password_wherever_it_is_shown() -> None:
    address = "postgresql://ada:secret@db:5432/mlflow"
    assert shown({"registry": address}) == '{"registry": "postgresql://ada:***@db:5432/mlflow"}'
    assert plain({"a": [address]}) == {"a": ["postgresql://ada:***@db:5432/mlflow"]}
    assert "secret" not in shown("x" * 150 + address)


def test_what_turns_a_lines_direction_or_moves_a_cursor_is_spelled_out() -> None:
    assert shown("a\x1b[31m\u202eb\ud800") == "a\\x1b[31m\\u202eb\\ud800"
