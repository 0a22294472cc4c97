"""A model's session through ONNX Runtime's C API: made, run and freed without the GIL.

Chosen by `session` wherever the library can be called. Always: what ONNX Runtime holds goes with the last reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

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


class _Column(NamedTuple):
    """An input or output, as it lies in a batch's arena: looked up once, since `part` is called for each batch."""

    name: str
    element_type: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, spec: TensorSpec) -> _Column:
        return cls(spec.name, ELEMENT_TYPES[spec.datatype], spec.datatype.numpy_dtype)

    def part(self, array: Array, first: int, rows: int) -> Memory:
        """Rows `first` to `first + rows` of a column's array, which has as many at least."""
        # ONNX Runtime is given an address alone: what is asserted here, nobody checks any more.
        assert array.flags.c_contiguous, self.name
        assert array.dtype == self.dtype, (self.name, array.dtype)
        assert 0 <= first <= first + rows <= len(array), (first, rows, len(array))
        row_bytes = array.nbytes // len(array)
        address = array.ctypes.data + first * row_bytes
        return Memory(address, rows * row_bytes, (rows, *array.shape[1:]), self.element_type)


class CSession:
    """One session. `run` and `bind` may be called from any thread."""

    def __init__(self, model_bytes: bytes, signature: Signature) -> None:
        inputs, outputs = ([spec.name for spec in specs] for specs in (signature.inputs, signature.outputs))
        try:
            self._session = Session(model_bytes, inputs, outputs)
        except OrtError as error:
            raise SessionRefused(what_failed(error)) from error
        self._inputs = [_Column.of(spec) for spec in signature.inputs]
        self._outputs = [_Column.of(spec) for spec in signature.outputs]

    def run_options(self) -> RunOptions:
        return RunOptions()

    def run(self, inputs: Mapping[str, Array], options: RunOptions | None) -> dict[str, Array]:
        # ONNX Runtime takes arrays only, and indexing turns one element into a numpy scalar.
        fed = [(np.asarray(inputs[column.name]), column.element_type) for column in self._inputs]
        for array, element_type in fed:
            if element_type == values.STRING:
                _refuse_other_than_text(array)
        try:
            results = self._session.run(fed, options)
        except OrtError as error:
            raise run_failure(error) from error
        return {column.name: result for column, result in zip(self._outputs, results, strict=True)}

    def bind(
        self, first: int, rows: int, inputs: tuple[Array, ...], outputs: tuple[Array, ...], options: RunOptions
    ) -> Run:
        prepared = self._session.prepare(
            [column.part(array, first, rows) for column, array in zip(self._inputs, inputs, strict=True)],
            [column.part(array, first, rows) for column, array in zip(self._outputs, outputs, strict=True)],
            options,
        )
        words, failure = prepared.words, prepared.failure

        def run() -> Exception | None:
            status = run_prepared(words)
            return None if status == 0 else run_failure(failure(status))

        return run


def _refuse_other_than_text(array: Array) -> None:
    for element in array.ravel().tolist():
        try:
            element.decode()
        except UnicodeDecodeError:
            raise not_utf_8(element) from None
