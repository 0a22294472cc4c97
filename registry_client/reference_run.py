"""The reference: a model run by ONNX Runtime's own Python session, one thread, on plain arrays.

Used to make golden examples and to check them, by the command line and by pipelines; serving has runners of its own,
and is compared with this one. Always: arrays have the dtypes of `Datatype`, BF16 as the uint16 that holds its bits.
"""

from __future__ import annotations

import ctypes

import numpy as np
import onnxruntime

from registry_client.errors import ArtifactError, BadDocument, UnservableModel
from registry_client.golden import Golden, Tensors, check_golden, check_inputs_fit, make_golden
from registry_client.onnx_model import DATATYPES_BY_ONNX_TYPE, OnnxModel
from registry_client.tensors import FREE_DIMENSION, Datatype, Signature, TensorSpec

_BFLOAT16 = next(code for code, datatype in DATATYPES_BY_ONNX_TYPE.items() if datatype is Datatype.BF16)
_LOG_ERRORS_ONLY = 3
_OWN_EXAMPLES = "Give examples of your own: roost bundle --golden FILE.json; docs/reference/bundle.md gives the form."


class ReferenceRun:
    """Call it with the inputs by name; it gives the outputs by name. Raises UnservableModel, also at a failed run."""

    def __init__(self, model_bytes: bytes, signature: Signature) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _LOG_ERRORS_ONLY
        self._signature = signature
        try:
            self._session = onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base of their own
            raise UnservableModel(
                "model", expected="a model that ONNX Runtime loads", got=_first_line(error), hint="Export it anew."
            ) from error

    def __call__(self, inputs: Tensors) -> dict[str, np.ndarray]:
        specs = self._signature.outputs
        try:
            answers = self._answers([spec.name for spec in specs], inputs)
        except ArtifactError:
            raise
        except Exception as error:  # ONNX Runtime again
            raise UnservableModel(
                "model", expected="a run on these inputs", got=_first_line(error), hint=_OWN_EXAMPLES
            ) from error
        return dict(zip((spec.name for spec in specs), answers, strict=True))

    def _answers(self, names: list[str], inputs: Tensors) -> list[np.ndarray]:
        """`session.run` knows no BF16, and values of ONNX Runtime's own (OrtValue) no strings: each where it serves."""
        feeds = {spec.name: _encoded(spec, inputs[spec.name]) for spec in self._signature.inputs}
        specs = (*self._signature.inputs, *self._signature.outputs)
        if all(spec.datatype is not Datatype.BF16 for spec in specs):
            answers = self._session.run(names, feeds)
            return [_decoded(spec, answer) for spec, answer in zip(self._signature.outputs, answers, strict=True)]
        values = {spec.name: _to_value(spec, feeds[spec.name]) for spec in self._signature.inputs}
        found = self._session.run_with_ort_values(names, values)
        return [_from_value(spec, value) for spec, value in zip(self._signature.outputs, found, strict=True)]


def record_golden(model: OnnxModel, *, rows: int = 4, seed: int = 0) -> Golden:
    """One golden example of `rows` rows of seeded random inputs. Raises UnservableModel where the model rejects them.

    All free dimensions are `rows` long, so that those which must agree do: their symbols are not in the signature.
    """
    if not 1 <= rows <= 4096:
        raise BadDocument("golden rows", expected="1 to 4096", got=f"{rows}", hint="A few rows are enough.")
    random = np.random.default_rng(seed)
    inputs = {spec.name: _random_array(random, spec, rows) for spec in model.signature.inputs}
    run = ReferenceRun(model.model_bytes, model.signature)
    golden = make_golden(model.signature, [(inputs, run(inputs))])
    try:
        check_golden(golden, run, rtol=0.0, atol=0.0)
    except ArtifactError as error:
        raise UnservableModel(
            "model",
            expected="the same answer twice",
            got=f"two ({error.field})",
            hint="It draws random numbers or keeps state, which no golden example can hold: export it for inference.",
        ) from error
    return golden


def complete_golden(model: OnnxModel, golden: Golden) -> Golden:
    """The examples, those without any output completed by what the model gives. Raises UnservableModel."""
    check_inputs_fit(golden, model.signature)
    run = ReferenceRun(model.model_bytes, model.signature)
    examples = []
    for example in golden.examples:
        inputs = {name: tensor.array for name, tensor in example.inputs.items()}
        recorded = {name: tensor.array for name, tensor in example.outputs.items()}
        examples.append((inputs, recorded or run(inputs)))
    return make_golden(model.signature, examples)


def _random_array(random: np.random.Generator, spec: TensorSpec, rows: int) -> np.ndarray:
    shape = tuple(rows if size == FREE_DIMENSION else size for size in spec.shape)
    if spec.datatype is Datatype.BYTES:
        words = np.array([b"a", b"b", b"c"], dtype=object)
        return np.asarray(words[random.integers(0, len(words), shape)], dtype=object).reshape(shape)
    if spec.datatype is Datatype.BF16:
        floats = random.standard_normal(shape).astype(np.float32)
        return np.asarray(floats.view(np.uint32) >> 16, dtype=np.uint16)
    if spec.datatype in (Datatype.FP16, Datatype.FP32, Datatype.FP64):
        return np.asarray(random.standard_normal(shape), dtype=spec.datatype.numpy_dtype)
    # Integers are often indices, into tables of unknown length: 0 and 1 fit nearly all of them.
    return np.asarray(random.integers(0, 2, shape), dtype=spec.datatype.numpy_dtype)


def _encoded(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """The array as ONNX Runtime takes it. Strings as `str`: it would take the repr of `bytes`."""
    if spec.datatype is not Datatype.BYTES:
        return array
    texts = np.empty(array.size, dtype=object)
    for index, element in enumerate(array.ravel()):
        try:
            texts[index] = element if isinstance(element, str) else bytes(element).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadDocument(
                f"input {spec.name!r}, element {index}", expected="UTF-8", got=repr(element)[:40], hint="Encode it so."
            ) from error
    return texts.reshape(array.shape)


def _decoded(spec: TensorSpec, answer: object) -> np.ndarray:
    array = np.asarray(answer)
    if spec.datatype is not Datatype.BYTES:
        return array
    encoded = np.empty(array.size, dtype=object)
    encoded[:] = [str(text).encode("utf-8") for text in array.ravel()]
    return encoded.reshape(array.shape)


def _to_value(spec: TensorSpec, array: np.ndarray) -> onnxruntime.OrtValue:
    contiguous = np.ascontiguousarray(array).reshape(array.shape)  # which makes a scalar one-dimensional
    if spec.datatype is Datatype.BF16:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(contiguous, _BFLOAT16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(contiguous)


def _from_value(spec: TensorSpec, value: onnxruntime.OrtValue) -> np.ndarray:
    if spec.datatype is not Datatype.BF16:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    content = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape, dtype=np.int64)))
    return np.frombuffer(content, dtype=np.uint16).reshape(shape)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
