"""How a wire kernel is declared, and the one leaf that is not plain Python: copying bytes.

Used by every kernel module of this room.
Always: a kernel takes (array, start, end) and never a pointer, releases the GIL, never raises and never allocates. It
answers with a code of `native.wire.codes`, and computes in int64 alone: mixed signed and unsigned arithmetic would
turn a negative code into a large offset. Under NUMBA_DISABLE_JIT=1 or as `.py_func` the same source runs as Python.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

# The types by which kernels annotate what they borrow: uint8 and int64 arrays, whose elements they compute with as int.
# Numba itself goes by the declared signature.
Bytes = npt.NDArray[Any]
Words = npt.NDArray[Any]

# Makes an int64 of a byte or a literal before arithmetic: as Python, a uint8 would wrap at 256, as Numba, a literal's
# type may follow the other operand's.
int64 = cast(Callable[[Any], int], np.int64)
# What nghttp2 takes and callbacks return.
int32 = cast(Callable[[Any], int], np.int32)

kernel: Final = partial(njit, nogil=True, cache=True, error_model="numpy")


def copy_bytes(target: Bytes, target_offset: int, source: Bytes, source_offset: int, count: int) -> None:
    """Copies `count` bytes between arrays that do not overlap. The caller has checked both ranges.

    A call of memcpy: assigning a slice would do the same behind a shape check that raises, which a kernel must not.
    """
    target[target_offset : target_offset + count] = source[source_offset : source_offset + count]


def _memcpy_code(typingctx: Any, target: Any, target_offset: Any, source: Any, source_offset: Any, count: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target_array = context.make_array(signature.args[0])(context, builder, arguments[0])
        source_array = context.make_array(signature.args[2])(context, builder, arguments[2])
        cgutils.raw_memcpy(
            builder,
            builder.gep(target_array.data, [arguments[1]]),
            builder.gep(source_array.data, [arguments[3]]),
            arguments[4],
            ir.Constant(arguments[4].type, 1),
        )
        return context.get_dummy_value()

    signature = types.void(target, types.int64, source, types.int64, types.int64)
    return signature, generate


_memcpy: Any = intrinsic(_memcpy_code)


@overload(copy_bytes, jit_options={"nogil": True, "error_model": "numpy"})
def _copy_bytes(target: Any, target_offset: Any, source: Any, source_offset: Any, count: Any) -> Any:
    def implementation(target: Any, target_offset: Any, source: Any, source_offset: Any, count: Any) -> None:
        _memcpy(target, target_offset, source, source_offset, count)

    return implementation
