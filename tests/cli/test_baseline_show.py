"""`roost bundle --reference` and `roost baseline show`, through the application that the console script runs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper
from rich.console import Console
from typer.testing import CliRunner, Result

from registry_client.baseline.document import Feature, Kind
from registry_client.verify import read_verified
from server.cli.application import app
from server.cli.baseline_drawing import drawn

ROWS = 3000
Roost = Callable[..., Result]


@pytest.fixture
def roost(monkeypatch: pytest.MonkeyPatch) -> Roost:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """y = x + x, float32 [rows, 3], and a word that goes through as it is."""
    return _graph(tmp_path / "model.onnx", [helper.make_node("Add", ["x", "x"], ["y"])], words=False)


def _graph(path: Path, nodes: list[object], *, words: bool) -> Path:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])]
    if words:
        inputs.append(helper.make_tensor_value_info("word", TensorProto.STRING, ["rows", 1]))
        outputs.append(helper.make_tensor_value_info("same", TensorProto.STRING, ["rows", 1]))
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(made.SerializeToString(deterministic=True))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    random = np.random.default_rng(3)
    missing = random.random(ROWS) < 0.02
    table = pa.table({
        "height": pa.array(random.normal(170, 10, ROWS), mask=missing),
        "plan": random.integers(1, 4, ROWS),
        "paid": np.where(random.random(ROWS) < 0.7, 0.0, random.exponential(100, ROWS)),
        "at": pa.array(random.integers(0, 10**9, ROWS), pa.timestamp("s")),
        "left": random.integers(0, 2, ROWS),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=700)
    return tmp_path / "rows.parquet"


@pytest.fixture
def bundled(roost: Roost, model: Path, rows: Path, tmp_path: Path) -> Path:
    (tmp_path / "meaning.json").write_text(
        json.dumps({"features": ["height", {"name": "plan", "codes": {"1": "basic", "2": "family"}}, "paid"]})
    )
    (tmp_path / "importances.json").write_text(json.dumps({"height": 0.75, "plan": 0}))
    done = roost(
        "bundle", model, "--name", "churn", "--out", tmp_path / "b", "--reference", rows, "--time", "at", "--label",
        "left", "--meaning", tmp_path / "meaning.json", "--importances", tmp_path / "importances.json",
    )  # fmt: skip
    assert (done.exit_code, done.stderr) == (0, "")
    return tmp_path / "b"


def refusal(done: Result) -> str:
    assert (done.exit_code, done.stdout) == (1, ""), (done.stdout, done.stderr)
    assert done.stderr.startswith("roost: ")
    assert len(done.stderr.splitlines()) == 1
    return done.stderr


def test_a_reference_gives_the_bundle_a_baseline_of_inputs_predictions_and_labels(bundled, rows):
    baseline = read_verified(bundled).baseline()
    table = pq.read_table(rows)
    assert [one.name for one in baseline.inputs] == ["height", "plan", "paid"]
    assert [one.name for one in baseline.predictions] == ["y[0]", "y[1]", "y[2]", "y[argmax]"]
    assert [one.name for one in baseline.labels] == ["left"]
    height, plan, _ = baseline.inputs
    assert height.counts[-2] == table["height"].null_count > 0
    assert plan.kind is Kind.CATEGORY
    assert plan.counts[:3] == tuple(np.bincount(table["plan"].to_numpy())[1:])
    assert (height.importance, plan.importance, baseline.inputs[2].importance) == (0.75, 0.0, None)
    for feature in (*baseline.inputs, *baseline.predictions, *baseline.labels):
        assert feature.rows == ROWS
        assert np.sum(feature.by_hour, axis=0).tolist() == list(feature.counts)


def test_the_same_rows_give_the_same_digest(roost, model, rows, tmp_path):
    digests = {
        json.loads(
            roost("bundle", model, "--name", "m", "--out", tmp_path / out, "--reference", rows, "--columns",
                  _mapping(tmp_path), "--json").stdout
        )["digest"]
        for out in ("one", "two")
    }  # fmt: skip
    assert len(digests) == 1


def _mapping(folder: Path) -> Path:
    (folder / "columns.json").write_text(json.dumps({"x": ["height", "plan", "paid"]}))
    return folder / "columns.json"


def test_show_draws_every_feature_within_eighty_columns(roost, bundled):
    done = roost("baseline", "show", bundled)
    assert (done.exit_code, done.stderr) == (0, "")
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert "3,000 rows, counted exactly, by hour of the week; 3 inputs, 4 predictions" in done.stdout
    for heading in ("Inputs", "Predictions", "Labels", "height  number, importance 0.75", "y[argmax]  category"):
        assert heading in done.stdout
    # What the meaning says of a code stands beside it, and the most frequent code has the longest bar.
    (basic,) = [line for line in done.stdout.splitlines() if "1 basic" in line]
    assert "%" in basic
    missing = read_verified(bundled).baseline().inputs[0].counts[-2] / ROWS
    assert f"missing {missing * 100:.1f} %" in done.stdout
    assert any("█" * 28 in line for line in done.stdout.splitlines())


def test_bars_are_as_long_as_their_shares(roost, bundled):
    done = roost("baseline", "show", bundled, "--feature", "paid")
    counts = [count for count in read_verified(bundled).baseline().inputs[2].counts if count]
    bars = [line for line in done.stdout.splitlines() if " to " in line and line.rstrip().endswith(tuple("0123456789"))]
    lengths = [line.count("█") for line in bars if "%" in line]
    assert len(lengths) == len(counts)
    for length, count in zip(lengths, counts, strict=True):
        assert abs(length - 28 * count / max(counts)) <= 1


def test_show_takes_a_registry_s_model_and_single_features(roost, bundled, tmp_path):
    assert roost("push", bundled, "--registry", tmp_path / "r", "--alias", "stable").exit_code == 0
    done = roost("baseline", "show", "churn@stable", "--registry", tmp_path / "r", "--feature", "plan", "--json")
    document = json.loads(done.stdout)
    assert (document["name"], document["rows"], document["rank_error"]) == ("churn:1", ROWS, 0.0)
    assert [one["name"] for one in document["inputs"]] == ["plan"]
    assert [one["bin"] for one in document["inputs"][0]["bins"]] == ["1", "2", "3", "other", "missing", "non-finite"]
    assert sum(one["count"] for one in document["inputs"][0]["bins"]) == ROWS
    assert document["predictions"] == []


@pytest.mark.parametrize("points", [(-1.7e308, 1.7e308), (0.0, 5e-324)])
def test_the_widest_and_the_narrowest_of_ranges_are_drawn_and_names_reach_no_terminal_as_commands(points):
    feature = Feature("a\x1b[2Jb", "x", 0, Kind.NUMBER, points, (0, 9, 1, 0, 0))
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(drawn(feature, {}, 80))
    text = console.file.getvalue()
    assert "a?[2Jb  number" in text
    assert "90.0 %" in text
    assert "above" in text


def test_a_feature_that_is_not_there_is_refused_with_those_that_are(roost, bundled):
    line = refusal(roost("baseline", "show", bundled, "--feature", "weight"))
    assert "--feature: expected one of height, plan, paid, y[0]" in line
    assert "got 'weight'" in line


def test_a_bundle_without_a_baseline_is_told_from_a_folder_that_is_none(roost, model, tmp_path):
    assert roost("bundle", model, "--name", "m", "--out", tmp_path / "b").exit_code == 0
    assert "m: expected a bundle with a baseline, got one without" in refusal(roost("baseline", "show", tmp_path / "b"))
    assert "expected a bundle's folder, got nothing there" in refusal(roost("baseline", "show", tmp_path / "none"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--time", "at"), "--time: expected --reference FILE.parquet beside it, got none"),
        (("--bins", "5"), "--bins: expected --reference FILE.parquet beside it"),
        (("--reference", "ROWS", "--columns", "MAP", "--bins", "70"), "--bins: expected 2 to 59, got 70"),
        (("--reference", "ROWS"), "input 'x': expected 3 columns, got 5 in"),
        (("--reference", "ROWS", "--columns", "MAP", "--tau", "0.01"), "expected at least 13000 rows for tau 0.01"),
        (("--reference", "ROWS", "--columns", "MAP", "--categories", "a"), "--categories: expected names of features"),
        (("--reference", "ROWS", "--columns", "MAP", "--importances", "MAP"), "columns.json: x: expected a number"),
        (("--reference", "NONE"), "none.parquet: No such file or directory."),
    ],
)
def test_a_reference_that_does_not_do_is_one_line_and_leaves_no_bundle(roost, model, rows, tmp_path, flags, message):
    places = {"ROWS": rows, "MAP": _mapping(tmp_path), "NONE": tmp_path / "none.parquet"}
    given = [places.get(flag, flag) for flag in flags]
    line = refusal(roost("bundle", model, "--name", "m", "--out", tmp_path / "b", *given))
    assert message in line
    assert not (tmp_path / "b").exists()


def test_a_taken_folder_is_refused_before_the_rows_are_gone_through(roost, model, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").touch()
    done = roost("bundle", model, "--name", "m", "--out", tmp_path / "b", "--reference", tmp_path / "none.parquet")
    assert "expected a new or empty folder" in refusal(done)


@pytest.mark.parametrize("library", ["pyarrow", "datasketches"])
def test_a_library_that_is_not_installed_is_one_line_that_says_what_to_install(
    roost, model, rows, tmp_path, monkeypatch, library
):
    from registry_client.baseline import builder

    monkeypatch.setitem(sys.modules, library, None)
    # So that a sketch is needed; where all values are counted one by one, it is not.
    monkeypatch.setattr(builder, "DISTINCT_MIN", 1)
    monkeypatch.setattr(builder, "DISTINCT_MAX", 1000)
    done = roost(
        "bundle", model, "--name", "m", "--out", tmp_path / "b", "--reference", rows, "--columns", _mapping(tmp_path)
    )
    line = refusal(done)
    assert f"{library}: expected the library to be installed" in line
    assert "pip install 'roost-server[baseline]'" in line


def test_text_is_left_out_and_the_model_is_only_run_where_the_file_has_it(roost, tmp_path):
    nodes = [helper.make_node("Add", ["x", "x"], ["y"]), helper.make_node("Identity", ["word"], ["same"])]
    model = _graph(tmp_path / "words.onnx", nodes, words=True)
    random = np.random.default_rng(0)
    columns = {f"x:{index}": random.standard_normal(ROWS) for index in range(3)}
    for out, more, predictions in (("without", {}, 0), ("with", {"word": ["a"] * ROWS}, 4)):
        pq.write_table(pa.table({**columns, **more}), tmp_path / "rows.parquet")
        done = roost(
            "bundle", model, "--name", "m", "--out", tmp_path / out, "--reference", tmp_path / "rows.parquet"
        )
        assert done.exit_code == 0, done.stderr
        assert "roost: input 'word' is not in the baseline: it is text" in done.stderr
        assert ("has no column for input word: predictions are not in the baseline" in done.stderr) is (not predictions)
        assert len(read_verified(tmp_path / out).baseline().predictions) == predictions
