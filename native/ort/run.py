"""The one kernel of this room: a Run whose every argument was prepared, called by its address.

Used by `native.ort.session` for each batch. Always: nothing is allocated here and the GIL is not held; the addresses
in `words` are alive as long as the run lasts, which `Prepared` sees to.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from native.wire.kernel import Words, kernel

# Places in `words`: the function and its arguments, in its order. Addresses of values may follow.
RUN_FUNCTION: Final = 0
RUN_SESSION: Final = 1
RUN_OPTIONS: Final = 2
RUN_INPUT_NAMES: Final = 3
RUN_INPUTS: Final = 4
RUN_INPUT_COUNT: Final = 5
RUN_OUTPUT_NAMES: Final = 6
RUN_OUTPUT_COUNT: Final = 7
RUN_OUTPUTS: Final = 8
RUN_WORDS: Final = 9


@intrinsic
def _run(
    typing_context: Any,
    function: Any,
    session: Any,
    options: Any,
    input_names: Any,
    inputs: Any,
    input_count: Any,
    output_names: Any,
    output_count: Any,
    outputs: Any,
) -> Any:
    """OrtStatus* Run(session, options, input_names, inputs, input_count, output_names, output_count, outputs)."""
    signature = types.int64(*(types.int64,) * RUN_WORDS)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        # Pointers and size_t travel as 64-bit integers do, in the calling conventions of x86-64 and arm64.
        run = ir.FunctionType(word, [word] * (RUN_WORDS - 1))
        return builder.call(builder.inttoptr(arguments[0], run.as_pointer()), arguments[1:])

    return signature, codegen


@kernel("int64(int64[::1])")
def run_prepared(words: Words) -> int:
    """Calls Run. The address of its OrtStatus, which is the caller's to free; 0 where all went well.

    words: int64[RUN_WORDS or more], in the order above, made by `Prepared` alone: a wrong address ends the process.
    """
    return _run(
        words[RUN_FUNCTION],
        words[RUN_SESSION],
        words[RUN_OPTIONS],
        words[RUN_INPUT_NAMES],
        words[RUN_INPUTS],
        words[RUN_INPUT_COUNT],
        words[RUN_OUTPUT_NAMES],
        words[RUN_OUTPUT_COUNT],
        words[RUN_OUTPUTS],
    )
