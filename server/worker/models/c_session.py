"""A model's session through ONNX Runtime's C API: made, run and freed without the GIL.

Chosen by `session` wherever the library can be called. Always: what ONNX Runtime holds goes with the last reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from native.ort import values
from native.ort.api import OrtError
from native.ort.run import run_prepared
from native.ort.session import Memory, RunOptions, Session
from registry_client.tensors import Datatype, Signature, TensorSpec
from server.worker.models.bindings import Run
from server.worker.models.failures import SessionRefused, not_utf_8, run_failure, what_failed

Array = npt.NDArray[Any]

ELEMENT_TYPES: Final = {
    Datatype.BOOL: values.BOOL,
    Datatype.UINT8: values.UINT8,
    Datatype.UINT16: values.UINT16,
    Datatype.UINT32: values.UINT32,
    Datatype.UINT64: values.UINT64,
    Datatype.INT8: values.INT8,
    Datatype.INT16: values.INT16,
    Datatype.INT32: values.INT32,
    Datatype.INT64: values.INT64,
    Datatype.FP16: values.FLOAT16,
    Datatype.FP32: values.FLOAT,
    Datatype.FP64: values.DOUBLE,
    Datatype.BF16: values.BFLOAT16,
    Datatype.BYTES: values.STRING,
}


class CSession:
    """One session. `run` and `bind` may be called from any thread."""

    def __init__(self, model_bytes: bytes, signature: Signature) -> None:
        inputs, outputs = ([spec.name for spec in specs] for specs in (signature.inputs, signature.outputs))
        try:
            self._session = Session(model_bytes, inputs, outputs)
        except OrtError as error:
            raise SessionRefused(what_failed(error)) from error
        self._signature = signature

    def run_options(self) -> RunOptions:
        return RunOptions()

    def run(self, inputs: Mapping[str, Array], options: RunOptions | None) -> dict[str, Array]:
        fed = [_fed(spec, inputs[spec.name]) for spec in self._signature.inputs]
        try:
            results = self._session.run(fed, options)
        except OrtError as error:
            raise run_failure(error) from error
        return {spec.name: result for spec, result in zip(self._signature.outputs, results, strict=True)}

    def bind(
        self, first: int, rows: int, inputs: tuple[Array, ...], outputs: tuple[Array, ...], options: RunOptions
    ) -> Run:
        prepared = self._session.prepare(
            _part_of_each(self._signature.inputs, inputs, first, rows),
            _part_of_each(self._signature.outputs, outputs, first, rows),
            options,
        )
        words, failure = prepared.words, prepared.failure

        def run() -> Exception | None:
            status = run_prepared(words)
            return None if status == 0 else run_failure(failure(status))

        return run


def _fed(spec: TensorSpec, array: Array) -> tuple[Array, int]:
    # ONNX Runtime takes arrays only, and indexing turns one element into a numpy scalar.
    array = np.asarray(array)
    if spec.datatype is Datatype.BYTES:
        for element in array.ravel().tolist():
            try:
                element.decode()
            except UnicodeDecodeError:
                raise not_utf_8(element) from None
    return array, ELEMENT_TYPES[spec.datatype]


def _part_of_each(specs: tuple[TensorSpec, ...], columns: tuple[Array, ...], first: int, rows: int) -> list[Memory]:
    """Rows `first` to `first + rows` of each column, which has as many at least."""
    parts = []
    for spec, column in zip(specs, columns, strict=True):
        # ONNX Runtime is given an address alone: what is asserted here, nobody checks any more.
        assert column.flags.c_contiguous, spec.name
        assert column.dtype == spec.datatype.numpy_dtype, (spec.name, column.dtype)
        assert 0 <= first <= first + rows <= len(column), (first, rows, len(column))
        row_bytes = column.nbytes // len(column)
        parts.append(
            Memory(
                column.ctypes.data + first * row_bytes,
                rows * row_bytes,
                (rows, *column.shape[1:]),
                ELEMENT_TYPES[spec.datatype],
            )
        )
    return parts
