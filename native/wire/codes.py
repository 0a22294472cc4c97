"""What the wire kernels answer: one negative code for each way in which bytes are not a plain answer.

Used by every kernel of `native/wire` and by the callbacks and servicers that act on what they return.
Always: results that are offsets, lengths, indices or flags are never negative, codes always are, and no two are equal.
Kernels decide, they do not explain: the status and the sentence a client reads are written where the code is acted on.
"""

from __future__ import annotations

from typing import Final

OK: Final = 0

# The bytes are fine so far, there are not enough of them.
NEED_MORE: Final = -1
# gRPC frames (frames.py).
TOO_LONG: Final = -2
BAD_FLAG: Final = -3
NO_MESSAGE: Final = -4
CUT_SHORT: Final = -5
TAIL: Final = -6
# Request headers (metadata.py).
BAD_TIMEOUT: Final = -7
NO_METHOD: Final = -8
# Messages (predict_reader.py, infer_reader.py): correct perhaps, but not for a kernel. The servicers answer it whole.
HAND_OVER: Final = -9
# Rows or replies (rows.py, reply_writer.py): more than the arena or the buffer has left.
NO_ROOM: Final = -10

# A frame's flag as `frame_flag` and `unary_state` return it.
PLAIN: Final = 0
COMPRESSED: Final = 1

# The largest length or count that a kernel computes with. Whatever a varint claims beyond it is refused before any
# arithmetic, so that no sum of two offsets can wrap and `length > end - position` means what it says.
VARINT_MAX: Final = 2**31 - 1

FRAME_HEADER_BYTES: Final = 5
INPUTS_MAX: Final = 16
OUTPUTS_MAX: Final = 16
ID_BYTES_MAX: Final = 64

assert max(INPUTS_MAX, OUTPUTS_MAX) <= 63, "sets of inputs and outputs are bits of one int64"
