"""A model's ONNX Runtime session: arrays in, arrays out, by name.

Built from bytes, never from a path: what was verified is what runs. One thread a session and no spinning, since the
worker decides what runs where. Always: arrays follow registry_client.tensors (BYTES as `bytes` objects, BF16 as the
uint16 of their bits), outputs are owned by the caller, and every failure of a Run is a StatusError.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from registry_client.tensors import Datatype, Signature
from server.worker.models.bindings import Bindings
from server.worker.status import Code, StatusError, quoted

Array = npt.NDArray[np.generic]

CPU = ["CPUExecutionProvider"]
FATAL_ONLY = 4
OUT_OF_MEMORY_MARKS = ("Failed to allocate memory", "bad_alloc")
RUN_ERRORS = tuple(
    getattr(ort_errors, name)
    for name in ("InvalidArgument", "Fail", "RuntimeException", "NotImplemented", "EPFail", "EngineError")
    if hasattr(ort_errors, name)
)
# A Run over bound memory loses its status on the way through pybind: it comes as a plain RuntimeError.
BOUND_RUN_ERRORS = (*RUN_ERRORS, RuntimeError)
LOAD_ERRORS = (*RUN_ERRORS, *(
    getattr(ort_errors, name)
    for name in ("InvalidGraph", "InvalidProtobuf", "NoModel", "ModelLoaded", "NoSuchFile")
    if hasattr(ort_errors, name)
))  # fmt: skip


class SessionRefused(Exception):
    """ONNX Runtime does not take the model. One line that says why."""


def what_failed(error: Exception) -> str:
    """ONNX Runtime's own words, without the place in its source."""
    text = str(error)
    for mark in ("Error in execution: ", "Status Message: ", "INVALID_ARGUMENT : ", "FAIL : ", "RUNTIME_EXCEPTION : "):
        _, found, rest = text.partition(mark)
        text = rest if found else text
    return " ".join(text.split())


class OnnxSession:
    """One InferenceSession. `run` may be called from any thread."""

    def __init__(self, model_bytes: bytes, signature: Signature) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # A warning per Run (a label declared [1]) would fill the log; refusals come as exceptions.
        options.log_severity_level = FATAL_ONLY
        try:
            self._session = onnxruntime.InferenceSession(model_bytes, options, providers=CPU)
        except LOAD_ERRORS as error:
            raise SessionRefused(what_failed(error)) from error
        self.signature = signature
        self._output_names = [spec.name for spec in signature.outputs]
        # pybind hands numpy arrays over by dtype, and numpy has no bfloat16: such models go through OrtValues.
        specs = (*signature.inputs, *signature.outputs)
        self._has_bf16 = any(spec.datatype is Datatype.BF16 for spec in specs)

    def bindings(self) -> Bindings:
        """Runs over a batcher's memory. Only for models that batch: fixed rows, fixed-width types."""
        return Bindings(self._session, self.signature, BOUND_RUN_ERRORS, run_failure)

    def run(self, inputs: Mapping[str, Array], options: onnxruntime.RunOptions | None = None) -> dict[str, Array]:
        """All outputs for these inputs. Raises StatusError where the model cannot compute them.

        options: its `terminate`, set from another thread, ends the run within a millisecond.
        """
        try:
            if self._has_bf16:
                return self._run_with_ort_values(inputs, options)
            feed = {spec.name: _fed(spec.datatype, inputs[spec.name]) for spec in self.signature.inputs}
            results = self._session.run(self._output_names, feed, options)
        except RUN_ERRORS as error:
            raise run_failure(error) from error
        return {
            spec.name: _received(spec.datatype, np.asarray(result))
            for spec, result in zip(self.signature.outputs, results, strict=True)
        }

    def _run_with_ort_values(
        self, inputs: Mapping[str, Array], options: onnxruntime.RunOptions | None
    ) -> dict[str, Array]:
        feed = {}
        for spec in self.signature.inputs:
            array = np.ascontiguousarray(_fed(spec.datatype, inputs[spec.name]))
            if spec.datatype is Datatype.BF16:
                # ascontiguousarray makes a scalar [1]: the shape must be told again.
                bits = array.reshape(inputs[spec.name].shape)
                feed[spec.name] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, TensorProto.BFLOAT16)
            else:
                value = array.reshape(inputs[spec.name].shape)
                feed[spec.name] = onnxruntime.OrtValue.ortvalue_from_numpy(value)
        results = self._session.run_with_ort_values(self._output_names, feed, options)
        return {
            spec.name: _bits(result) if spec.datatype is Datatype.BF16 else _received(spec.datatype, result.numpy())
            for spec, result in zip(self.signature.outputs, results, strict=True)
        }


def run_failure(error: Exception) -> StatusError:
    """A Run that failed, as the caller sees it.

    The model ran at load, so that it is this call's values or shapes that it cannot compute; whether ONNX Runtime
    calls that an invalid argument or a failure differs by operator (Gather says the one, MatMul the other).
    """
    words = what_failed(error).rstrip(".")
    if any(mark in words for mark in OUT_OF_MEMORY_MARKS):
        return StatusError(
            Code.RESOURCE_EXHAUSTED,
            f"inputs: expected a size that fits into memory, got an error of ONNX Runtime: {words}. Send fewer rows.",
        )
    return StatusError(
        Code.INVALID_ARGUMENT,
        f"inputs: expected values that the model can compute, got an error of ONNX Runtime: {words}. "
        "Check shapes that depend on each other, and values that index or divide.",
    )


def _fed(datatype: Datatype, array: Array) -> Array:
    if datatype is not Datatype.BYTES:
        # ONNX Runtime takes arrays only, and indexing turns one element into a numpy scalar.
        return np.asarray(array)
    text = np.empty(array.size, dtype=object)
    for index, element in enumerate(array.ravel().tolist()):
        try:
            text[index] = element.decode()
        except UnicodeDecodeError:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"inputs: expected UTF-8 for a string tensor, got {quoted(repr(element))}. Send text.",
            ) from None
    return text.reshape(array.shape)


def _received(datatype: Datatype, array: Array) -> Array:
    if datatype is not Datatype.BYTES:
        return array
    encoded = np.empty(array.size, dtype=object)
    for index, element in enumerate(array.ravel().tolist()):
        encoded[index] = element.encode()
    return encoded.reshape(array.shape)


def _bits(value: onnxruntime.OrtValue) -> Array:
    """The uint16 of a bfloat16 OrtValue, copied out: `numpy()` knows no such type."""
    shape = tuple(value.shape())
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype=np.uint16)
    borrowed = (ctypes.c_uint16 * count).from_address(value.data_ptr())
    return np.ctypeslib.as_array(borrowed).copy().reshape(shape)
