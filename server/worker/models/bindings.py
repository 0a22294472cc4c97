"""Runs over a batch's own memory: inputs are read where they were gathered, outputs written where replies take them.

Used by the batcher, once per batch. A binding names one arena and one number of rows; making one costs more than the
run of a small model, so the recent ones are kept. Always: the arrays that a binding names live as long as its model has
its place in the lane, and nothing runs later; what a binding needs of ONNX Runtime lives as long as the binding, though
the session be closed meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]

KEPT_MAX: Final = 512

# A run that was bound: None, or what it failed with. It never raises, since somebody waits for each batch's end.
Run = Callable[[], Exception | None]


class RunOptions(Protocol):
    """Ends runs from another thread: those that are under way, and any that begin until `recover`."""

    def terminate(self) -> None: ...

    def recover(self) -> None: ...


class Binds(Protocol):
    """Makes runs over columns' rows, for either API of ONNX Runtime."""

    def bind(
        self, first: int, rows: int, inputs: tuple[Array, ...], outputs: tuple[Array, ...], options: Any
    ) -> Run: ...


class Bindings:
    """Bindings of one session. session: None once it was closed; options: of the session's own kind."""

    def __init__(self, session: Binds, options: RunOptions) -> None:
        self._session: Binds | None = session
        self._options = options
        self.kept: OrderedDict[tuple[int, int], Run] = OrderedDict()

    def terminate(self) -> None:
        """Ends the run that is under way, and any that follows until `recover`."""
        self._options.terminate()

    def recover(self) -> None:
        """Lets runs go on, after one was ended that took too long."""
        self._options.recover()

    def close(self) -> None:
        """Lets go of all that was kept. Runs that are under way go on to their end."""
        self._session = None
        self.kept.clear()

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
        assert self._session is not None, "a session that was closed has no work"
        return self._session.bind(first, rows, inputs, outputs, self._options)
