"""Reading ONNX files: real exports and graphs made by hand, checked against ONNX Runtime."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from registry_client.errors import UnservableModel
from registry_client.onnx_model import DATATYPES_BY_ONNX_TYPE, read_onnx
from registry_client.tensors import Datatype, TensorSpec


def run(model: bytes, **feeds: np.ndarray) -> dict[str, object]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def tensor(name: str, element_type: int = TensorProto.FLOAT, shape: object = ("rows", 3)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, shape if shape is None else list(shape))


def test_an_untouched_model_keeps_its_very_bytes(doubling):
    model = read_onnx(doubling)
    assert model.model_bytes is doubling
    assert model.signature.inputs == (TensorSpec("x", Datatype.FP32, (-1, 3)),)
    assert model.signature.outputs == (TensorSpec("y", Datatype.FP32, (-1, 3)),)
    assert (model.class_labels, model.notes) == (None, ())


@pytest.mark.parametrize("string_labels", [False, True])
def test_a_zipmap_becomes_a_tensor_with_the_same_probabilities(sklearn_export, iris_rows, string_labels):
    original = sklearn_export(True, string_labels)
    model = read_onnx(original)
    before, after = run(original, X=iris_rows), run(model.model_bytes, X=iris_rows)
    labels = ("setosa", "versicolor", "virginica") if string_labels else (0, 1, 2)
    assert model.class_labels == labels
    assert list(after) == list(before) == ["output_label", "output_probability"]
    maps = before["output_probability"]
    np.testing.assert_array_equal(
        after["output_probability"], np.array([[row[label] for label in labels] for row in maps], np.float32)
    )
    np.testing.assert_array_equal(after["output_label"], before["output_label"])
    assert model.signature.outputs[1] == TensorSpec("output_probability", Datatype.FP32, (-1, 3))
    assert "ZipMap" in model.notes[0]


def test_replacing_a_zipmap_gives_the_same_bytes_each_time_and_nothing_on_a_second_pass(sklearn_export):
    once = read_onnx(sklearn_export(True)).model_bytes
    assert read_onnx(sklearn_export(True)).model_bytes == once
    assert read_onnx(once).model_bytes is once


def test_an_export_without_zipmap_is_left_alone_and_its_labels_are_found(sklearn_export):
    exported = sklearn_export(False)
    model = read_onnx(exported)
    assert model.model_bytes is exported
    assert model.class_labels == (0, 1, 2)


def test_lightgbm_is_served_with_a_label_for_each_row(lightgbm_export, iris_rows):
    model = read_onnx(lightgbm_export)
    assert model.signature.outputs == (
        TensorSpec("label", Datatype.INT64, (-1,)),
        TensorSpec("probabilities", Datatype.FP32, (-1, 2)),
    )
    before, after = run(lightgbm_export, x=iris_rows), run(model.model_bytes, x=iris_rows)
    np.testing.assert_array_equal(after["label"], before["label"])
    expected = np.array([[row[0], row[1]] for row in before["probabilities"]], np.float32)
    np.testing.assert_array_equal(after["probabilities"], expected)
    assert model.class_labels == (0, 1)


def test_a_zipmap_whose_tensor_is_an_output_too_leaves_both(make_model):
    zipmap = helper.make_node("ZipMap", ["p"], ["z"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"])
    maps = helper.make_value_info(
        "z",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        ),
    )
    original = make_model(
        [helper.make_node("Normalizer", ["x"], ["p"], domain="ai.onnx.ml", norm="L1"), zipmap],
        [tensor("x")],
        [tensor("p"), maps],
        opset_imports=[helper.make_opsetid("ai.onnx.ml", 3)],
    )
    model = read_onnx(original)
    answers = run(model.model_bytes, x=np.array([[1, 2, 1]], np.float32))
    np.testing.assert_array_equal(answers["p"], answers["z"])
    assert model.class_labels == ("a", "b", "c")


def test_several_inputs_integers_scalars_and_free_dimensions_are_told_as_they_are(make_model):
    model = read_onnx(
        make_model(
            [helper.make_node("Gather", ["table", "ids"], ["rows"]), helper.make_node("Add", ["rows", "bias"], ["y"])],
            [tensor("table", shape=["n", 4]), tensor("ids", TensorProto.INT64, ["b", "t"]), tensor("bias", shape=[])],
            [tensor("y", shape=["b", "t", None])],
        )
    )
    assert model.signature.inputs == (
        TensorSpec("table", Datatype.FP32, (-1, 4)),
        TensorSpec("ids", Datatype.INT64, (-1, -1)),
        TensorSpec("bias", Datatype.FP32, ()),
    )
    # The last dimension was left open by the export; the operators tell it.
    assert model.signature.outputs == (TensorSpec("y", Datatype.FP32, (-1, -1, 4)),)


def test_an_output_without_a_declared_shape_takes_the_inferred_one(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], [tensor("x")], [tensor("y", shape=None)])
    assert read_onnx(model).signature.outputs[0].shape == (-1, 3)


def test_an_output_whose_shape_nobody_knows_is_free_and_noted(make_model):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs = [tensor("x"), tensor("shape", TensorProto.INT64, ["n"])]
    model = read_onnx(make_model(nodes, inputs, [tensor("y", shape=None)]))
    assert model.signature.outputs[0].shape == (-1,)
    assert "no declared shape" in model.notes[0]
    assert len(model.notes) == 1


def test_an_initialiser_listed_as_an_input_is_not_asked_of_callers(make_model):
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1, 2, 3])
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    model = make_model(nodes, [tensor("x"), tensor("w", shape=[3])], [tensor("y")], initializer=[weight])
    assert [spec.name for spec in read_onnx(model).signature.inputs] == ["x"]


@pytest.mark.parametrize(("element_type", "datatype"), DATATYPES_BY_ONNX_TYPE.items())
def test_every_supported_element_type_is_named_as_the_protocol_names_it(make_model, element_type, datatype):
    ends = [tensor("x", element_type)], [tensor("y", element_type)]
    signature = read_onnx(make_model([helper.make_node("Identity", ["x"], ["y"])], *ends)).signature
    assert signature.inputs[0].datatype is signature.outputs[0].datatype is datatype


def test_each_datatype_has_its_element_type():
    assert set(DATATYPES_BY_ONNX_TYPE.values()) == set(Datatype)


@pytest.mark.parametrize("element_type", [TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, TensorProto.INT4, 999])
def test_an_unsupported_element_type_is_refused_by_name(make_model, element_type):
    model = make_model(
        [helper.make_node("Identity", ["x"], ["y"])], [tensor("x", element_type)], [tensor("y", element_type)]
    )
    name = "999" if element_type == 999 else TensorProto.DataType.Name(element_type)
    with pytest.raises(UnservableModel, match=rf"input 'x': .*{name}.*Cast"):
        read_onnx(model)


def test_external_data_is_refused_wherever_it_hides(make_model):
    def external(name: str) -> TensorProto:
        found = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
        found.external_data.add(key="location", value="weights.bin")
        return found

    ends = [tensor("x")], [tensor("y")]
    constant = helper.make_node("Constant", [], ["c"], value=external("deep"))
    branch = helper.make_graph([constant], "branch", [], [tensor("c", shape=[3])])
    choice = helper.make_node("If", ["cond"], ["b"], then_branch=branch, else_branch=branch)
    add = helper.make_node("Add", ["x", "w"], ["y"])
    hiding_places = {
        "w": make_model([add], *ends, initializer=[external("w")]),
        "deep": make_model(
            [choice, helper.make_node("Add", ["x", "b"], ["y"])],
            [tensor("cond", TensorProto.BOOL, []), *ends[0]],
            ends[1],
        ),
    }
    for name, model in hiding_places.items():
        with pytest.raises(UnservableModel, match=f"'{name}'.*external data.*save_as_external_data=False"):
            read_onnx(model)


def test_a_custom_operator_is_refused_also_inside_a_subgraph(make_model):
    custom = helper.make_node("Tokenize", [], ["c"], domain="com.acme")
    branch = helper.make_graph([custom], "branch", [], [tensor("c", shape=[3])])
    nodes = [
        helper.make_node("If", ["cond"], ["b"], then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["x", "b"], ["y"]),
    ]
    model = make_model(nodes, [tensor("cond", TensorProto.BOOL, []), tensor("x")], [tensor("y")])
    with pytest.raises(UnservableModel, match=r"Tokenize of domain 'com\.acme'.*standard"):
        read_onnx(model)


@pytest.mark.parametrize("domain", ["com.microsoft.extensions", "ai.onnx.contrib", "ai.onnx.preview.training"])
def test_domains_that_onnx_runtime_does_not_bring_are_refused(make_model, domain):
    model = make_model([helper.make_node("Op", ["x"], ["y"], domain=domain)], [tensor("x")], [tensor("y")])
    with pytest.raises(UnservableModel, match="Op of domain"):
        read_onnx(model)


def test_built_in_contrib_operators_and_model_local_functions_are_served(make_model):
    double = helper.make_function(
        "local", "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    model = make_model(
        [
            helper.make_node("Double", ["x"], ["h"], domain="local"),
            helper.make_node("Gelu", ["h"], ["y"], domain="com.microsoft"),
        ],
        [tensor("x")],
        [tensor("y")],
        opset_imports=[
            helper.make_opsetid("", 17),
            helper.make_opsetid("local", 1),
            helper.make_opsetid("com.microsoft", 1),
        ],
        functions=[double],
    )
    signature = read_onnx(model).signature
    assert signature.outputs[0] == TensorSpec("y", Datatype.FP32, (-1, 3))
    assert run(model, x=np.ones((2, 3), np.float32))["y"].shape == (2, 3)


def test_a_sequence_output_is_refused_in_one_line_with_the_remedy(make_model):
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    model = make_model([helper.make_node("SequenceConstruct", ["x"], ["s"])], [tensor("x")], [sequence])
    with pytest.raises(UnservableModel, match=r"output 's': expected a tensor, got a sequence.*zipmap") as refusal:
        read_onnx(model)
    assert "\n" not in str(refusal.value)


def test_optional_and_sequence_inputs_are_refused(make_model):
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, [3])
    for kind, type_proto in (
        ("an optional", helper.make_optional_type_proto(element)),
        ("a sequence", helper.make_sequence_type_proto(element)),
    ):
        source = helper.make_value_info("o", type_proto)
        model = make_model([helper.make_node("OptionalGetElement", ["o"], ["y"])], [source], [tensor("y")])
        with pytest.raises(UnservableModel, match=f"input 'o': expected a tensor, got {kind}"):
            read_onnx(model)


def test_an_input_of_unknown_rank_is_refused(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], [tensor("x", shape=None)], [tensor("y")])
    with pytest.raises(UnservableModel, match=r"input 'x'.*unknown rank"):
        read_onnx(model)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "without ir_version"),
        (b"not a model at all", "do not parse"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x80\x04\x95rest", "pickle"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    ],
)
def test_what_is_no_onnx_file_is_refused_as_what_it_is(data, expected):
    with pytest.raises(UnservableModel, match=expected):
        read_onnx(data)


def test_a_file_cut_anywhere_is_refused(doubling):
    for length in range(len(doubling)):
        with pytest.raises(UnservableModel):
            read_onnx(doubling[:length])


def test_an_output_named_twice_is_refused(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], [tensor("x")], [tensor("y"), tensor("y")])
    with pytest.raises(UnservableModel, match="output 'y': expected names that differ"):
        read_onnx(model)


def test_a_zipmap_that_another_node_reads_is_refused_with_the_remedy(make_model):
    zipmap = helper.make_node("ZipMap", ["x"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    maps = helper.make_value_info(
        "z",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        ),
    )
    reader = helper.make_node("SequenceLength", ["z"], ["n"])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    length = tensor("n", TensorProto.INT64, [])
    model = make_model([zipmap, reader], [tensor("x")], [maps, length], opset_imports=opsets)
    with pytest.raises(UnservableModel, match=r"output 'z'.*SequenceLength reads.*zipmap"):
        read_onnx(model)


def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_read(doubling):
    assert read_onnx(doubling, bytes_max=len(doubling)).model_bytes == doubling
    with pytest.raises(
        UnservableModel, match=f"^model file: expected at most {len(doubling) - 1} bytes, got {len(doubling)}"
    ):
        read_onnx(doubling, bytes_max=len(doubling) - 1)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused_but_never_crashes(position, byte):
    from onnx.helper import make_node

    graph = helper.make_graph([make_node("Add", ["x", "x"], ["y"])], "g", [tensor("x")], [tensor("y")])
    damaged = bytearray(helper.make_model(graph, ir_version=9).SerializeToString(deterministic=True))
    damaged[position % len(damaged)] = byte
    with contextlib.suppress(UnservableModel):
        read_onnx(bytes(damaged))


def test_labels_of_a_classifier_inside_are_not_taken_for_the_models(iris_rows):
    """Stacking numbers its classes from 0 inside, and translates them at the end."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.ensemble import StackingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    target = load_iris().target + 5
    stacking = StackingClassifier([("bayes", GaussianNB())], final_estimator=LogisticRegression(max_iter=200))
    exported = to_onnx(stacking.fit(iris_rows, target), iris_rows[:1]).SerializeToString(deterministic=True)
    model = read_onnx(exported)
    assert model.class_labels == (5, 6, 7), "as its ZipMap tells"
    assert read_onnx(model.model_bytes).class_labels is None
