"""A Parquet file as a model's rows: which columns are taken, how they are cast, what is refused and how."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from registry_client.baseline.builder import NO_HOUR
from registry_client.baseline.mapping import meaning_codes, meaning_columns, read_mapping
from registry_client.baseline.parquet import ParquetRows
from registry_client.baseline.rows import ModelRows, Source
from registry_client.errors import BadDocument
from registry_client.tensors import Datatype, Signature, TensorSpec

ONE = Signature((TensorSpec("x", Datatype.FP32, (-1, 2)),), ())
SEVERAL = Signature(
    (
        TensorSpec("age", Datatype.FP32, (-1, 1)), TensorSpec("sizes", Datatype.FP64, (-1, 2)),
        TensorSpec("code", Datatype.INT8, (-1,)),
    ), (),
)  # fmt: skip


def one(datatype: Datatype) -> Signature:
    return Signature((TensorSpec("x", datatype, (-1, 1)),), ())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.parquet"


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def read(signature: Signature, path: Path, **options: object) -> dict[str, np.ndarray]:
    (batch,) = ModelRows(signature, Source(path, **options)).batches()
    return dict(batch.inputs)


def test_a_single_input_takes_all_columns_but_the_named_ones_in_the_file_s_order(path):
    write(path, b=[1.0, 2.0], at=[datetime.datetime(2026, 1, 1)] * 2, a=[3, 4], y=[0, 1])
    rows = ModelRows(ONE, Source(path, time="at", label="y"))
    assert rows.names == {"x": ("b", "a")}
    (batch,) = rows.batches()
    assert batch.inputs["x"].dtype == np.float32
    assert batch.inputs["x"].tolist() == [[1, 3], [2, 4]]
    assert batch.labels.tolist() == [0, 1]


def test_a_single_input_takes_the_columns_that_the_meaning_names(path):
    write(path, b=[1.0], id=["k"], a=[3])
    assert read(ONE, path, meaning=("a", "b"))["x"].tolist() == [[3, 1]]


def test_several_inputs_take_columns_of_their_names_and_the_mapping_file_says_the_rest(path):
    write(path, **{"code": [7], "sizes:1": [2.5], "sizes:0": [1.5], "how old": [40], "other": ["k"]})
    found = read(SEVERAL, path, explicit={"age": ("how old",)})
    assert {name: array.tolist() for name, array in found.items()} == {
        "age": [[40.0]], "sizes": [[1.5, 2.5]], "code": [7],
    }  # fmt: skip
    assert [array.dtype.name for array in found.values()] == ["float32", "float64", "int8"]


def test_a_list_column_feeds_a_whole_tensor_of_any_rank(path):
    write(path, x=[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    signature = Signature((TensorSpec("x", Datatype.FP32, (-1, 2, 2)),), ())
    assert read(signature, path)["x"].tolist() == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    assert ModelRows(signature, Source(path)).names == {}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"a": [1.0]}, {}, "input 'x': expected 2 columns, got 1 in {path}: a."),
        ({"a": [1.0], "b": ["k"]}, {}, "{path}: column 'b': expected numbers, for input 'x' (FP32), got string."),
        ({"a": [1.0]}, {"meaning": ("a", "b")}, "column 'b': expected the column, for input 'x' (FP32), got none"),
        ({"a": [1.0], "b": [1]}, {"time": "a"}, "{path}: column 'a': expected times, for --time, got double."),
        ({"a": [1.0], "b": [1]}, {"time": "c"}, "{path}: column 'c': expected the column, for --time, got none"),
        ({"a": [1.0], "b": [1]}, {"label": "c"}, "{path}: column 'c': expected the column, for --label, got none"),
        ({"a": [1.0], "b": [1], "y": ["k"]}, {"label": "y"}, "{path}: column 'y': expected numbers, for --label"),
        ({"a": [1.0], "b": [1]}, {"explicit": {"z": ("a",)}}, "--columns: expected inputs of the model: x, got 'z'"),
        ({"a": [1.0], "b": [[1.0]]}, {}, "column 'b': expected numbers, or one list column alone"),
        ({"x": [[1.0, 2.0], [3.0]]}, {}, "column 'x': expected lists of one length in all rows, got lengths [1, 2]"),
        ({"x": [[1.0, 2.0, 3.0]]}, {}, "column 'x': expected 2 elements in each row, got 3"),
        ({"a": [], "b": []}, {}, "{path}: expected rows, got none."),
    ],
)
def test_columns_that_do_not_suit_the_model_are_refused_by_name(path, columns, options, message):
    pq.write_table(pa.table({name: values or pa.array([], pa.float64()) for name, values in columns.items()}), path)
    with pytest.raises(BadDocument) as refusal:
        read(ONE, path, **options)
    assert message.format(path=path) in str(refusal.value)


def test_an_input_that_has_no_column_is_refused_with_the_names_that_would_do(path):
    write(path, age=[1.0], code=[1])
    with pytest.raises(BadDocument, match=r"input 'sizes': expected 2 columns 'sizes:\.\.\.', or a list column"):
        read(SEVERAL, path)


@pytest.mark.parametrize(
    ("datatype", "values", "got"),
    [
        (Datatype.INT64, [1.0, 1.5], "row 1: expected whole numbers for a tensor of INT64, got 1.5"),
        (Datatype.INT64, [1, None], "row 1: expected whole numbers for a tensor of INT64, got none"),
        (Datatype.INT64, [1.0, 2.0**63], "row 1: expected whole numbers for a tensor of INT64, got 9.2"),
        (Datatype.UINT8, [255, 256], "row 1: expected whole numbers for a tensor of UINT8, got 256"),
        (Datatype.UINT64, [-1], "row 0: expected whole numbers for a tensor of UINT64, got -1"),
        (Datatype.BOOL, [1, 2], "row 1: expected true or false for a tensor of BOOL, got 2"),
        (Datatype.INT8, [float("nan")], "row 0: expected whole numbers for a tensor of INT8, got nan"),
    ],
)
def test_a_value_that_the_tensor_can_not_hold_is_refused_with_its_row(path, datatype, values, got):
    write(path, x=values)
    with pytest.raises(BadDocument) as refusal:
        read(one(datatype), path)
    assert f"{path}: column 'x', {got}" in str(refusal.value)


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        (Datatype.FP32, [0.1, None, 1e300], [float(np.float32(0.1)), np.nan, np.inf]),
        (Datatype.FP32, [1, None, True], [1.0, np.nan, 1.0]),
        (Datatype.FP16, [0.1, 70000.0], [float(np.float16(0.1)), np.inf]),
        (Datatype.FP64, [2**53 + 1, None], [2.0**53, np.nan]),
        (Datatype.UINT64, [2**64 - 1, 0], [2**64 - 1, 0]),
        (Datatype.INT64, [2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        (Datatype.INT8, [127.0, -128.0], [127, -128]),
        (Datatype.BOOL, [True, False], [True, False]),
        (Datatype.BF16, [1.0, None, 1.00390625, 1.01171875], [0x3F80, 0x7FC0, 0x3F80, 0x3F82]),
    ],
)
def test_values_become_what_a_caller_would_send(path, datatype, values, expected):
    kind = pa.uint64() if datatype is Datatype.UINT64 else None
    write(path, x=pa.array([int(v) if v is True and datatype is Datatype.FP32 else v for v in values], kind))
    found = read(one(datatype), path)["x"]
    assert found.dtype == datatype.numpy_dtype
    np.testing.assert_array_equal(found.ravel(), np.array(expected, dtype=found.dtype))


def test_decimals_and_encoded_columns_are_numbers(path):
    prices = pa.array(["1.50", None]).cast(pa.decimal128(6, 2))
    write(path, a=prices, b=pa.array([7, 8]).dictionary_encode())
    np.testing.assert_array_equal(read(ONE, path)["x"], [[1.5, 7], [np.nan, 8]])


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_the_hour_of_the_week_is_that_of_utc_and_monday_begins_it(path, unit, zone):
    moments = [datetime.datetime(2026, 1, 5, 0, 0), datetime.datetime(2026, 1, 4, 23, 59), None,
               datetime.datetime(1969, 12, 31, 23, 30)]  # fmt: skip
    at = pa.array(moments, pa.timestamp(unit)).cast(pa.timestamp(unit, zone) if zone else pa.timestamp(unit))
    write(path, x=[1.0] * 4, at=at)
    (batch,) = ModelRows(one(Datatype.FP32), Source(path, time="at")).batches()
    assert batch.hours.tolist() == [0, 167, NO_HOUR, 2 * 24 + 23]


def test_a_date_is_the_first_hour_of_its_day(path):
    write(path, x=[1.0], at=[datetime.date(2026, 1, 6)])
    (batch,) = ModelRows(one(Datatype.FP32), Source(path, time="at")).batches()
    assert batch.hours.tolist() == [24]


def test_labels_of_text_become_their_class_s_place(path):
    write(path, x=[1.0, 2.0, 3.0], y=["no", "yes", None])
    source = Source(path, label="y", class_labels=("yes", "no"))
    (batch,) = ModelRows(one(Datatype.FP32), source).batches()
    np.testing.assert_array_equal(batch.labels, [1, 0, np.nan])
    write(path, x=[1.0], y=["perhaps"])
    with pytest.raises(BadDocument, match="row 0: expected a class of the model: yes, no, got 'perhaps'"):
        list(ModelRows(one(Datatype.FP32), source).batches())


def test_text_that_a_model_takes_is_fed_and_without_it_the_model_can_not_be_run(path):
    signature = Signature((TensorSpec("x", Datatype.FP32, (-1, 1)), TensorSpec("w", Datatype.BYTES, (-1, 1))), ())
    write(path, x=[1.0, 2.0], w=["a", "é"])
    assert read(signature, path)["w"].tolist() == [[b"a"], ["é".encode()]]
    write(path, x=[1.0])
    assert ModelRows(signature, Source(path)).unfed == ("w",)


@pytest.mark.parametrize("cut", [0, 3, 8, 100, -1])
def test_a_file_cut_short_is_refused_by_name(path, cut):
    write(path, x=[1.0] * 1000)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(BadDocument, match="expected a whole Parquet file") as refusal:
        ParquetRows(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_damage_in_the_middle_is_refused_when_it_is_reached(path):
    write(path, x=np.random.default_rng(0).standard_normal(10_000))
    content = bytearray(path.read_bytes())
    content[4:2000] = b"\xff" * 1996
    path.write_bytes(content)
    with pytest.raises(BadDocument, match="expected a whole Parquet file"):
        list(ParquetRows(path).batches(["x"]))


def test_a_file_of_many_batches_comes_whole_and_in_order(path):
    pq.write_table(pa.table({"x": np.arange(1000.0)}), path, row_group_size=300)
    parts = [cells["x"].values for cells in ParquetRows(path).batches(["x"], rows_max=128)]
    assert max(len(part) for part in parts) <= 128
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(1000.0))


def test_what_the_meaning_says_of_columns_is_read_and_anything_else_is_left_alone():
    meaning = {"features": [{"name": "a", "codes": {"1": "one"}}, {"name": "b", "codes": {}}]}
    assert meaning_columns(meaning) == (("a", "b"), frozenset({"a"}))
    assert meaning_columns({"columns": ["a", "b"]}) == (("a", "b"), frozenset())
    assert meaning_columns({"features": "all of them"}) == ((), frozenset())
    assert meaning_columns({"features": [{"title": "no name"}]}) == ((), frozenset())
    assert meaning_codes(meaning) == {"a": {"1": "one"}, "b": {}}


def test_a_mapping_file_that_maps_nothing_is_refused():
    assert read_mapping({"x": "a", "y": ["b", "c"]}, "map.json") == {"x": ("a",), "y": ("b", "c")}
    for wrong in (3, [], [1]):
        with pytest.raises(BadDocument, match=r"map\.json: x: expected a column's name, or an array of such names"):
            read_mapping({"x": wrong}, "map.json")
