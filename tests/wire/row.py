"""A row of the kernels' table, and what rows are made from: spans of bytes, random directories, expected buffers.

Used by the modules of rows that `table` puts together, and by tests that call readers themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from native.wire import parsed as layout
from native.wire.codes import HAND_OVER, NO_ROOM
from native.wire.directory import HEADER_WORDS, MODEL_WORDS, ModelDirectory, WireModel
from tests.wire import traffic

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OrHandedOver:
    """A value that the kernel may find, or else HAND_OVER."""

    value: Any


@dataclass(frozen=True)
class Row:
    """One kernel. typical: arguments that a benchmark may call it with again and again.

    oracle: gets the arguments as they are before the call and returns what the kernel has to give, or `OrHandedOver`
    where the kernel may also leave it to the servicers. seen: turns the kernel's result, and the arrays that it wrote,
    into what the oracle returns.
    """

    kernel: Any
    arguments: Callable[[Random], tuple[Any, ...]]
    oracle: Callable[..., Any]
    seen: Callable[[Any, tuple[Any, ...]], Any] = lambda result, _arguments: result
    typical: Callable[[], tuple[Any, ...]] | None = None

    @property
    def name(self) -> str:
        return f"{self.kernel.__module__.rpartition('.')[2]}.{self.kernel.__name__}"

    def check(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Calls the kernel, compiled or as Python, and fails where it gives anything but what the oracle says."""
        expected = self.oracle(*arguments)
        copied = tuple(argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments)
        result = self.seen(call(*copied), copied)
        if isinstance(expected, OrHandedOver):
            if isinstance(result, int | np.integer) and result == HAND_OVER:
                return
            expected = expected.value
        assert result == expected, f"{self.name}{arguments}: expected {expected}, got {result}"


def array(content: bytes) -> Array:
    """The bytes as a kernel gets them: writable memory of their own, a spare byte where there are none."""
    return np.frombuffer(content or b"\0", dtype=np.uint8).copy()


def span(random: Random, content: bytes) -> tuple[Array, int, int]:
    """(array, start, end) of the content between bytes that are none of the kernel's business."""
    before, after = random.randrange(4), random.randrange(4)
    return array(random.randbytes(before) + content + random.randbytes(after)), before, before + len(content)


def cut(content: Array, start: int, end: int) -> bytes:
    return content[start:end].tobytes()


def parsed_vector() -> Array:
    return np.full(layout.PARSED_WORDS, -7, dtype=np.int64)


def random_directory(random: Random) -> ModelDirectory:
    return ModelDirectory(traffic.models(random, random.randint(1, 3)))


def model_at(index: int) -> int:
    return HEADER_WORDS + index * MODEL_WORDS


class _Known:
    """The directories behind the tables that kernels are called with, so that no oracle reads a table to know a model.

    Names differ in length wherever models differ in nothing else, so the table alone tells them apart.
    """

    def __init__(self) -> None:
        self._directories: dict[bytes, ModelDirectory] = {}

    def remember(self, directory: ModelDirectory) -> ModelDirectory:
        self._directories[directory.table.tobytes()] = directory
        return directory

    def directory_of(self, table: Array) -> ModelDirectory:
        return self._directories[table.tobytes()]

    def of(self, table: Array) -> tuple[WireModel, ...]:
        return self.directory_of(table).models


KNOWN = _Known()


def written(out: Array, start: int, end: int, reply: bytes) -> Any:
    expected = out.copy()
    if len(reply) > end - start:
        return NO_ROOM, expected.tobytes()
    expected[start : start + len(reply)] = np.frombuffer(reply, np.uint8)
    return start + len(reply), expected.tobytes()
