"""Atomic loads, stores and fences on words of an int64 vector, for code inside Numba kernels.

Plain stores are ordered on x86 only: on arm64 a reader may see the new sequence before the words it guards. These
compile to LLVM's atomics, which are the same instructions as plain ones where the machine orders them anyway.
The index is not checked: the caller's kernel does that, or uses constants of `layout`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic

from native.plane.layout import Words

WORD_ALIGNMENT_BYTES = 8

# An int64 of a literal or a Python int, for kernels that shift and multiply.
int64 = cast(Callable[[Any], int], np.int64)


def _word(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """The address of arguments[0][arguments[1]]."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


def _is_word(array: Any, index: Any) -> bool:
    """Only a contiguous int64 vector and an int64 index: anything else fails when the kernel is compiled."""
    return (
        isinstance(array, types.Array)
        and array.dtype == types.int64
        and array.ndim == 1
        and array.layout == "C"
        and isinstance(index, types.Integer)
    )


def _load(ordering: str) -> Callable[..., Any]:
    def load(typing_context: Any, array: Any, index: Any) -> Any:
        if not _is_word(array, index):
            return None

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            address = _word(context, builder, signature, arguments)
            word = context.get_value_type(types.int64)
            return builder.load_atomic(address, ordering, WORD_ALIGNMENT_BYTES, typ=word)

        return types.int64(array, types.int64), generate

    return load


def _store(ordering: str) -> Callable[..., Any]:
    def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
        if not _is_word(array, index) or not isinstance(value, types.Integer):
            return None

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            address = _word(context, builder, signature, arguments)
            builder.store_atomic(arguments[2], address, ordering, WORD_ALIGNMENT_BYTES)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64), generate

    return store


def _or(ordering: str) -> Callable[..., Any]:
    def fetch_or(typing_context: Any, array: Any, index: Any, bits: Any) -> Any:
        if not _is_word(array, index) or not isinstance(bits, types.Integer):
            return None

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            address = _word(context, builder, signature, arguments)
            return builder.atomic_rmw("or", address, arguments[2], ordering)

        return types.int64(array, types.int64, types.int64), generate

    return fetch_or


def _fence(ordering: str) -> Callable[..., Any]:
    def fence(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), generate

    return fence


load_relaxed: Callable[[Words, int], int] = intrinsic(_load("monotonic"))
load_acquire: Callable[[Words, int], int] = intrinsic(_load("acquire"))
store_relaxed: Callable[[Words, int, int], None] = intrinsic(_store("monotonic"))
store_release: Callable[[Words, int, int], None] = intrinsic(_store("release"))
# The word as it was before.
fetch_or: Callable[[Words, int, int], int] = intrinsic(_or("acq_rel"))
fence_acquire: Callable[[], None] = intrinsic(_fence("acquire"))
fence_release: Callable[[], None] = intrinsic(_fence("release"))
