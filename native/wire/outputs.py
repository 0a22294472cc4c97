"""Which outputs a caller asks for: names, in declared order, as a mask.

Used by the two readers, which have noted where the names lie.
"""

from __future__ import annotations

from native.inner import inner
from native.wire.codes import HAND_OVER
from native.wire.directory import (
    MODEL_OUTPUT_COUNT,
    MODEL_OUTPUTS_AT,
    TENSOR_NAME_BYTES,
    TENSOR_NAME_OFFSET,
    TENSOR_WORDS,
)
from native.wire.fields import bytes_equal
from native.wire.kernel import Bytes, Words, int64
from native.wire.parsed import NOTE_OUTPUTS


@inner("int64(uint8[::1], int64[::1], uint8[::1], int64, int64, int64[::1])")
def output_mask(message: Bytes, table: Words, blob: Bytes, model_at: int, wanted: int, parsed: Words) -> int:
    """Mask of the `wanted` names noted at NOTE_OUTPUTS, all outputs where none is, or HAND_OVER.

    Names in another order than the model's, names twice and unknown names are handed over.
    """
    count = table[model_at + MODEL_OUTPUT_COUNT]
    if wanted == 0:
        return (int64(1) << count) - int64(1)
    mask = int64(0)
    output = 0
    for name in range(wanted):
        offset = parsed[NOTE_OUTPUTS + 2 * name]
        length = parsed[NOTE_OUTPUTS + 2 * name + 1]
        while output < count:
            at = table[model_at + MODEL_OUTPUTS_AT] + output * TENSOR_WORDS
            if table[at + TENSOR_NAME_BYTES] == length:
                if bytes_equal(message, offset, blob, table[at + TENSOR_NAME_OFFSET], length):
                    break
            output += 1
        if output == count:
            return HAND_OVER
        mask |= int64(1) << output
        output += 1
    return mask
