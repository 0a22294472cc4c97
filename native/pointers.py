"""Addresses as integers: the intrinsics that turn one into a pointer, and libc's three functions for raw memory.

Used by kernels that nghttp2 calls: its callbacks hand over addresses, and state hangs on one address, `user_data`.
Always: whoever turns an address into an array has checked the length against what was allocated there; `carray` itself
checks nothing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    """The void pointer at an int64 address."""
    signature = types.voidptr(types.intp)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return signature, codegen


malloc = types.ExternalFunction("malloc", types.intp(types.uintp))
free = types.ExternalFunction("free", types.void(types.intp))
memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.uintp))
