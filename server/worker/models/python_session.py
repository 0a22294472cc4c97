"""A model's session through ONNX Runtime's own API for Python: for wheels without a library that can be called.

Chosen by `session` where the C API is not there; loading holds other threads up, all else is the same. Always: nothing
else imports `onnxruntime`, so that a worker which uses the C API has one copy of it, not two.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from registry_client.tensors import Datatype, Signature
from server.worker.models.bindings import Run
from server.worker.models.failures import SessionRefused, not_utf_8, run_failure, what_failed

Array = npt.NDArray[Any]

CPU = ["CPUExecutionProvider"]
FATAL_ONLY = 4
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


class PythonRunOptions:
    """What ends runs from another thread, until `recover`."""

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = FATAL_ONLY

    def terminate(self) -> None:
        self.options.terminate = True

    def recover(self) -> None:
        self.options.terminate = False


class PythonSession:
    """One InferenceSession. `run` and `bind` may be called from any thread."""

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
        self._signature = signature
        self._output_names = [spec.name for spec in signature.outputs]
        # pybind hands numpy arrays over by dtype, and numpy has no bfloat16: such models go through OrtValues.
        specs = (*signature.inputs, *signature.outputs)
        self._has_bf16 = any(spec.datatype is Datatype.BF16 for spec in specs)

    def run_options(self) -> PythonRunOptions:
        return PythonRunOptions()

    def run(self, inputs: Mapping[str, Array], options: PythonRunOptions | None) -> dict[str, Array]:
        given = None if options is None else options.options
        try:
            if self._has_bf16:
                return self._run_with_ort_values(inputs, given)
            feed = {spec.name: _fed(spec.datatype, inputs[spec.name]) for spec in self._signature.inputs}
            results = self._session.run(self._output_names, feed, given)
        except RUN_ERRORS as error:
            raise run_failure(error) from error
        return {
            spec.name: _received(spec.datatype, np.asarray(result))
            for spec, result in zip(self._signature.outputs, results, strict=True)
        }

    def _run_with_ort_values(
        self, inputs: Mapping[str, Array], options: onnxruntime.RunOptions | None
    ) -> dict[str, Array]:
        feed = {}
        for spec in self._signature.inputs:
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
            for spec, result in zip(self._signature.outputs, results, strict=True)
        }

    def bind(
        self, first: int, rows: int, inputs: tuple[Array, ...], outputs: tuple[Array, ...], options: PythonRunOptions
    ) -> Run:
        binding = self._session.io_binding()
        for spec, column in zip(self._signature.inputs, inputs, strict=True):
            part = column[first : first + rows]
            binding.bind_input(spec.name, "cpu", 0, _element_type(spec.datatype), part.shape, part.ctypes.data)
        for spec, column in zip(self._signature.outputs, outputs, strict=True):
            part = column[first : first + rows]
            binding.bind_output(spec.name, "cpu", 0, _element_type(spec.datatype), part.shape, part.ctypes.data)
        given = options.options
        # What the session's method of this name calls, after two calls of Python's that say nothing on a CPU. A batch
        # of a small model is half Python; where a release hides these two, the method itself does.
        session, bound = getattr(self._session, "_sess", self._session), getattr(binding, "_iobinding", binding)
        if session is self._session or bound is binding:
            session, bound = self._session, binding

        def run() -> Exception | None:
            try:
                session.run_with_iobinding(bound, given)
            except BOUND_RUN_ERRORS as error:
                return run_failure(error)
            except Exception as error:  # noqa: BLE001, an error of our own is told to those who wait, too
                return error
            return None

        return run


def _element_type(datatype: Datatype) -> Any:
    """As io_binding wants it: a numpy type, or ONNX's own number where numpy has none."""
    return TensorProto.BFLOAT16 if datatype is Datatype.BF16 else np.dtype(datatype.numpy_dtype).type


def _fed(datatype: Datatype, array: Array) -> Array:
    if datatype is not Datatype.BYTES:
        # ONNX Runtime takes arrays only, and indexing turns one element into a numpy scalar.
        return np.asarray(array)
    text = np.empty(array.size, dtype=object)
    for index, element in enumerate(array.ravel().tolist()):
        try:
            text[index] = element.decode()
        except UnicodeDecodeError:
            raise not_utf_8(element) from None
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
