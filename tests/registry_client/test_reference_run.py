"""Golden examples recorded with ONNX Runtime: every datatype, and models that cannot have any."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from registry_client.errors import BadDocument, UnservableModel
from registry_client.golden import Example, Golden, Tensor, check_golden, read_golden
from registry_client.onnx_model import DATATYPES_BY_ONNX_TYPE, read_onnx
from registry_client.reference_run import ReferenceRun, complete_golden, record_golden
from registry_client.tensors import Datatype


def tensor(name: str, element_type: int, shape: object) -> object:
    return helper.make_tensor_value_info(name, element_type, list(shape))


@pytest.mark.parametrize("shape", [("n", 2), ("n", "m"), (3,), ()])
@pytest.mark.parametrize(("element_type", "datatype"), DATATYPES_BY_ONNX_TYPE.items())
def test_examples_of_every_datatype_and_shape_are_recorded_and_come_out_again(
    make_model, element_type, datatype, shape
):
    ends = [tensor("x", element_type, shape)], [tensor("y", element_type, shape)]
    model = read_onnx(make_model([helper.make_node("Identity", ["x"], ["y"])], *ends))
    golden = read_golden(record_golden(model, rows=4).to_bytes())
    example = golden.examples[0]
    assert example.inputs["x"].array.shape == tuple(4 if isinstance(size, str) else size for size in shape)
    assert example.inputs["x"].array.tolist() == example.outputs["y"].array.tolist()
    assert example.outputs["y"].datatype is datatype
    check_golden(golden, ReferenceRun(model.model_bytes, model.signature), rtol=0.0, atol=0.0)


def test_the_same_seed_records_the_same_examples_and_another_seed_others(doubling):
    model = read_onnx(doubling)
    assert record_golden(model).to_bytes() == record_golden(model).to_bytes()
    assert record_golden(model).to_bytes() != record_golden(model, seed=1).to_bytes()


@pytest.mark.parametrize("rows", [0, 4097])
def test_a_number_of_rows_out_of_range_is_refused(doubling, rows):
    with pytest.raises(BadDocument, match="1 to 4096"):
        record_golden(read_onnx(doubling), rows=rows)


def test_a_model_that_draws_random_numbers_is_refused_with_the_reason(make_model):
    noise = helper.make_node("RandomNormalLike", ["x"], ["noise"])
    model = make_model(
        [noise, helper.make_node("Add", ["x", "noise"], ["y"])],
        [tensor("x", TensorProto.FLOAT, ["n"])],
        [tensor("y", TensorProto.FLOAT, ["n"])],
    )
    with pytest.raises(UnservableModel, match="the same answer twice"):
        record_golden(read_onnx(model))


def test_a_model_that_rejects_random_inputs_is_refused_with_the_way_to_give_others(make_model):
    table = helper.make_tensor("table", TensorProto.FLOAT, [1, 2], [1, 2])
    model = read_onnx(
        make_model(
            [helper.make_node("Gather", ["table", "ids"], ["y"])],
            [tensor("ids", TensorProto.INT64, ["n"])],
            [tensor("y", TensorProto.FLOAT, ["n", 2])],
            initializer=[table],
        )
    )
    with pytest.raises(UnservableModel, match="--golden"):
        record_golden(model)
    own = Golden((Example({"ids": Tensor(Datatype.INT64, np.zeros(3, np.int64))}, {}),))
    completed = complete_golden(model, own)
    assert completed.examples[0].outputs["y"].array.tolist() == [[1.0, 2.0]] * 3


def test_given_outputs_are_kept_and_given_inputs_must_be_the_models(doubling):
    model = read_onnx(doubling)
    rows = Tensor(Datatype.FP32, np.ones((1, 3), np.float32))
    kept = complete_golden(model, Golden((Example({"x": rows}, {"y": rows}),)))
    assert kept.examples[0].outputs["y"].array.tolist() == [[1.0, 1.0, 1.0]]
    for name, given in (("z", rows), ("x", Tensor(Datatype.FP64, np.ones((1, 3))))):
        with pytest.raises(BadDocument, match="inputs"):
            complete_golden(model, Golden((Example({name: given}, {}),)))


def test_a_string_that_is_not_utf8_is_refused_and_not_run_as_its_repr(make_model):
    ends = [tensor("x", TensorProto.STRING, ["n"])], [tensor("y", TensorProto.STRING, ["n"])]
    model = read_onnx(make_model([helper.make_node("Identity", ["x"], ["y"])], *ends))
    run = ReferenceRun(model.model_bytes, model.signature)
    assert run({"x": np.array(["é".encode(), b""], object)})["y"].tolist() == ["é".encode(), b""]
    with pytest.raises(BadDocument, match="input 'x', element 1: expected UTF-8"):
        run({"x": np.array([b"a", b"\xff"], object)})


def test_a_graph_that_onnx_runtime_rejects_is_refused_in_one_line(make_model):
    ends = [tensor("x", TensorProto.FLOAT, ["n"])], [tensor("y", TensorProto.FLOAT, ["n"])]
    model = read_onnx(make_model([helper.make_node("NoSuchOperator", ["x"], ["y"])], *ends))
    with pytest.raises(UnservableModel, match=r"a model that ONNX Runtime loads, got .*NoSuchOperator") as refusal:
        ReferenceRun(model.model_bytes, model.signature)
    assert len(str(refusal.value).splitlines()) == 1
