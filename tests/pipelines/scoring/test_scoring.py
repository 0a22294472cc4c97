"""Offline scoring: the same answers whichever engine runs them, and refusals that name the column."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from pipelines.scoring import rows as rows_of
from pipelines.scoring.engines import ENGINES
from pipelines.scoring.rows import input_names, read_pieces
from registry_client.bundle import write_bundle
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import record_golden
from registry_client.verify import VerifiedBundle, read_verified
from server.cli.application import app

NAMES = ("age", "income", "tenure")
ROWS = 1000
WEIGHTS = np.array([[0.5, -1.0], [2.0, 0.25], [-0.125, 3.0]], np.float32)


def model_bytes() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["scores"])],
        "scores",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(NAMES)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 2])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    opset = [helper.make_opsetid("", 15)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scoring") / "bundle"
    model = read_onnx(model_bytes())
    write_bundle(
        folder,
        name="linear",
        model_bytes=model.model_bytes,
        golden=record_golden(model, rows=2),
        meaning={"features": [{"name": name} for name in NAMES]},
    )
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> VerifiedBundle:
    return read_verified(folder)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    drawn = np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32)
    # In another order than the model's, and one of whole numbers.
    columns = {"tenure": drawn[:, 2], "id": np.arange(ROWS), "age": drawn[:, 0].round(), "income": drawn[:, 1]}
    return pa.table({**columns, "age": columns["age"].astype(np.int64)})


@pytest.fixture
def rows_file(table: pa.Table, tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    return path


def expected(table: pa.Table) -> np.ndarray:
    return np.column_stack([table[name].to_numpy() for name in NAMES]).astype(np.float32) @ WEIGHTS


def score(*arguments: str | Path) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["score", *map(str, arguments)])
    return ended.exit_code, " ".join(ended.output.split())


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_every_engine_answers_every_row_in_its_order(
    engine: str, folder: Path, bundle: VerifiedBundle, table: pa.Table, rows_file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install roost-server[train,ray]")
    monkeypatch.setattr(rows_of, "PIECE_ROWS", 64)  # sixteen pieces, more than are ahead of the writer
    out = tmp_path / "answers.parquet"
    code, said = score(folder, "--rows", rows_file, "--out", out, "--key", "id", "--engine", engine)
    assert code == 0, said
    answers = pq.read_table(out)
    assert answers["id"].to_pylist() == [str(number) for number in range(ROWS)]
    got = np.column_stack([answers["scores_0"].to_numpy(), answers["scores_1"].to_numpy()])
    np.testing.assert_allclose(got, expected(table), rtol=1e-6)
    assert answers.schema.metadata[b"roost.digest"].decode() == bundle.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.parquet", "rows.parquet"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda table: table.drop_columns(["income"]), "rows.parquet: income: expected a column of that name"),
        (lambda table: table.set_column(0, "tenure", pa.array(["x"] * ROWS)), "tenure: expected a column of numbers"),
        (lambda table: table.slice(0, 0), "expected rows to score"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name_and_nothing_is_written(
    spoil, says: str, folder: Path, table: pa.Table, tmp_path: Path
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(spoil(table), path)
    code, said = score(folder, "--rows", path, "--out", tmp_path / "answers.parquet")
    assert code == 1
    assert says in said
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_a_file_that_is_not_parquet_and_an_unknown_engine_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"id,age\n")
    out = tmp_path / "out.parquet"
    assert "expected a Parquet file" in score(folder, "--rows", tmp_path / "rows.parquet", "--out", out)[1]
    assert "expected one of local, ray" in score(folder, "--rows", "x", "--out", out, "--engine", "spark")[1]


def test_a_folder_that_can_not_be_written_is_refused(folder: Path, rows_file: Path, tmp_path: Path) -> None:
    code, said = score(folder, "--rows", rows_file, "--out", tmp_path / "nowhere" / "answers.parquet")
    assert code == 1
    assert "expected a file that can be written" in said


def test_missing_numbers_arrive_as_nan_and_missing_texts_as_none_at_all(bundle: VerifiedBundle, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"age": [1.0, None], "income": [2.0, 3.0], "tenure": [None, 4]}), path)
    (piece,) = read_pieces(path, bundle.manifest, None)
    np.testing.assert_array_equal(piece.inputs["features"], np.float32([[1, 2, np.nan], [np.nan, 3, 4]]))
    assert piece.keys is None


def test_a_bundle_that_does_not_name_its_columns_is_refused(bundle: VerifiedBundle, tmp_path: Path) -> None:
    model = read_onnx(model_bytes())
    golden = record_golden(model, rows=2)
    manifest = write_bundle(tmp_path / "bare", name="bare", model_bytes=model.model_bytes, golden=golden)
    assert input_names(bundle.manifest) == (NAMES, ())
    with pytest.raises(Exception, match=r"expected names in meaning\.features"):
        input_names(manifest)


def test_the_model_of_this_test_is_what_onnx_accepts() -> None:
    onnx.checker.check_model(onnx.load_model_from_string(model_bytes()), full_check=True)
