"""A session of ONNX Runtime, and runs of it: prepared once over memory of ours, or by themselves.

Used by the worker's models. One thread a session and no spinning, since the worker decides what runs where; each has
an arena of its own, which goes with it. Always: a session is freed when nothing refers to it any more, and a run that
was prepared does, so that no order of closing, ending and freeing leaves an address behind that leads nowhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from native.ort.api import FATAL_ONLY, OrtError, api
from native.ort.run import RUN_WORDS
from native.ort.values import STRING, Array, Value, of_texts, over_array, over_memory

SESSION_ENTRIES: Final = (
    (b"session.intra_op.allow_spinning", b"0"),
    (b"session.inter_op.allow_spinning", b"0"),
)


class Memory(NamedTuple):
    """Where a tensor lies, in C order: what the batch's arena says of a column's rows."""

    address: int
    length_bytes: int
    shape: tuple[int, ...]
    element_type: int


class RunOptions:
    """What ends runs from another thread: all that go on with it, and those that begin, until `recover`."""

    __slots__ = ("_api", "address")

    def __init__(self) -> None:
        self._api = api()
        self.address = self._api.made("CreateRunOptions")
        self._api.call("RunOptionsSetRunLogSeverityLevel", self.address, FATAL_ONLY)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._api.release("ReleaseRunOptions", self.address)

    def terminate(self) -> None:
        self._api.call("RunOptionsSetTerminate", self.address)

    def recover(self) -> None:
        self._api.call("RunOptionsUnsetTerminate", self.address)


class Session:
    """An OrtSession of a model's bytes, which are read here and not kept. Its methods may be called from any thread.

    Raises OrtError where ONNX Runtime does not take the model.
    """

    def __init__(self, model_bytes: bytes, input_names: Sequence[str], output_names: Sequence[str]) -> None:
        self._api = api()
        options = self._api.made("CreateSessionOptions")
        try:
            self._api.call("SetIntraOpNumThreads", options, 1)
            self._api.call("SetInterOpNumThreads", options, 1)
            self._api.call("SetSessionLogSeverityLevel", options, FATAL_ONLY)
            for key, value in SESSION_ENTRIES:
                self._api.call("AddSessionConfigEntry", options, key, value)
            self.address = self._api.made(
                "CreateSessionFromArray", self._api.environment, model_bytes, len(model_bytes), options
            )
        finally:
            self._api.release("ReleaseSessionOptions", options)
        self._input_names = _names(input_names)
        self._output_names = _names(output_names)
        self.input_names_address = ctypes.addressof(self._input_names)
        self.output_names_address = ctypes.addressof(self._output_names)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._api.release("ReleaseSession", self.address)

    def run(self, inputs: Sequence[tuple[Array, int]], options: RunOptions | None = None) -> list[Array]:
        """All outputs, owned by the caller, for arrays with their element types. Raises OrtError.

        Elements of a STRING array are `bytes`.
        """
        fed = [
            of_texts(self._api, array.ravel().tolist(), array.shape)
            if element_type == STRING
            else over_array(self._api, array, element_type)
            for array, element_type in inputs
        ]
        values = (ctypes.c_void_p * len(fed))(*(value.address for value in fed))
        made = (ctypes.c_void_p * len(self._output_names))()
        self._api.call(
            "Run",
            self.address,
            options.address if options is not None else None,
            self._input_names,
            values,
            len(fed),
            self._output_names,
            len(made),
            made,
        )
        results = [Value(self._api, address) for address in made if address]
        return [result.array() for result in results]

    def prepare(self, inputs: Sequence[Memory], outputs: Sequence[Memory], options: RunOptions) -> Prepared:
        """A run over memory that stays where it is, to be made again and again."""
        return Prepared(self, inputs, outputs, options)


class Prepared:
    """A run whose values were made: `run_prepared(words)`, and `failure` of what comes out of it.

    Not for two threads at once. Keep it as long as its words are used.
    """

    __slots__ = ("_api", "_keeps", "words")

    def __init__(
        self, session: Session, inputs: Sequence[Memory], outputs: Sequence[Memory], options: RunOptions
    ) -> None:
        self._api = session._api
        values = [over_memory(self._api, *memory) for memory in (*inputs, *outputs)]
        self._keeps = (session, options, values)
        self.words = np.array([0] * RUN_WORDS + [value.address for value in values], dtype=np.int64)
        first: int = self.words.ctypes.data + RUN_WORDS * self.words.itemsize
        self.words[:RUN_WORDS] = (
            self._api.run_address,
            session.address,
            options.address,
            session.input_names_address,
            first,
            len(inputs),
            session.output_names_address,
            len(outputs),
            first + len(inputs) * self.words.itemsize,
        )

    def failure(self, status: int) -> OrtError:
        """What a run failed with that gave a status other than 0. Frees it."""
        return self._api.error(status)


def _names(names: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    """char*[n], which keeps the names that it points at."""
    return (ctypes.c_char_p * len(names))(*(name.encode() for name in names))
