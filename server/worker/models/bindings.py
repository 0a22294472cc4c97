"""Runs over a batch's own memory: inputs are read where they were gathered, outputs written where replies take them.

Used by the batcher, once per batch. A binding names one arena and one number of rows; making one costs more than the
run of a small model, so the recent ones are kept. Always: the arrays that a binding names live as long as the lane.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto

from registry_client.tensors import Datatype, Signature

Array = npt.NDArray[Any]

KEPT_MAX: Final = 512

# A run that was bound: None, or what it failed with. It never raises, since somebody waits for each batch's end.
Run = Callable[[], Exception | None]


class Bindings:
    """Bindings of one session. fails: turns what ONNX Runtime raises into what a caller is told."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        signature: Signature,
        errors: tuple[type[Exception], ...],
        fails: Callable[[Exception], Exception],
    ) -> None:
        self._session = session
        self._signature = signature
        self._errors = errors
        self._fails = fails
        self._options = onnxruntime.RunOptions()
        self.kept: OrderedDict[tuple[int, int], Run] = OrderedDict()

    def terminate(self) -> None:
        """Ends the run that is under way, and any that follows until `recover`."""
        self._options.terminate = True

    def recover(self) -> None:
        """Lets runs go on, after one was ended that took too long."""
        self._options.terminate = False

    def bind(self, arena: int, rows: int, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Run:
        """Binds the first `rows` rows of an arena's columns, [max_rows, ...] each, in declared order, and keeps that.

        Look into `kept` first, by (arena, rows).
        """
        run = self.bind_rows(0, rows, inputs, outputs)
        self.kept[arena, rows] = run
        if len(self.kept) > KEPT_MAX:
            self.kept.popitem(last=False)
        return run

    def bind_rows(self, first: int, rows: int, inputs: tuple[Array, ...], outputs: tuple[Array, ...]) -> Run:
        """Like `bind`, for rows from `first` on, and not kept."""
        binding = self._session.io_binding()
        for spec, column in zip(self._signature.inputs, inputs, strict=True):
            part = column[first : first + rows]
            binding.bind_input(spec.name, "cpu", 0, _element_type(spec.datatype), part.shape, part.ctypes.data)
        for spec, column in zip(self._signature.outputs, outputs, strict=True):
            part = column[first : first + rows]
            binding.bind_output(spec.name, "cpu", 0, _element_type(spec.datatype), part.shape, part.ctypes.data)
        errors, fails, options = self._errors, self._fails, self._options
        # What the session's method of this name calls, after two calls of Python's that say nothing on a CPU. A batch
        # of a small model is half Python; where a release hides these two, the method itself does.
        session, bound = getattr(self._session, "_sess", self._session), getattr(binding, "_iobinding", binding)
        if session is self._session or bound is binding:
            session, bound = self._session, binding

        def run() -> Exception | None:
            try:
                session.run_with_iobinding(bound, options)
            except errors as error:
                return fails(error)
            except Exception as error:  # noqa: BLE001, an error of our own is told to those who wait, too
                return error
            return None

        return run


def _element_type(datatype: Datatype) -> Any:
    """As io_binding wants it: a numpy type, or ONNX's own number where numpy has none."""
    return TensorProto.BFLOAT16 if datatype is Datatype.BF16 else np.dtype(datatype.numpy_dtype).type
