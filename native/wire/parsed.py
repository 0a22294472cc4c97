"""The vector a reader fills: where in the message everything is that a prediction needs.

Written by `read_predict` and `read_infer`, read by `copy_rows` and the callbacks. One vector serves a whole worker: it
holds offsets into the message's own array, so it is worth nothing once that array changes; what a reply needs later
(model, rows, output mask, contents, id) the caller copies to its slot.
Always, after a reader returned OK: every offset and length lies inside the message, every declared input has its
record, all of them have PARSED_ROWS rows, and each one's bytes are exactly what its encoding needs for them.
After any other answer the words mean nothing.
"""

from __future__ import annotations

from typing import Final

from native.wire.codes import INPUTS_MAX, OUTPUTS_MAX

# Index into the directory's models.
PARSED_MODEL: Final = 0
# Rows in each input, 1 to the model's max_rows.
PARSED_ROWS: Final = 1
# How the reply wants its tensors: RAW_CONTENTS or TYPED_CONTENTS. A `Predict` is always RAW_CONTENTS.
PARSED_CONTENTS: Final = 2
# Bit i set: declared output i is wanted. Never 0.
PARSED_OUTPUT_MASK: Final = 3
# The caller's id (ModelInfer), ASCII, at most ID_BYTES_MAX bytes; 0 bytes where there is none.
PARSED_ID_OFFSET: Final = 4
PARSED_ID_BYTES: Final = 5
# The routing key (Predict), ASCII; 0 bytes where there is none.
PARSED_ROUTING_KEY_OFFSET: Final = 6
PARSED_ROUTING_KEY_BYTES: Final = 7
# 1: the caller named the version that PARSED_MODEL has.
PARSED_VERSION_NAMED: Final = 8
# One record for each declared input, in the order in which the model declares them.
PARSED_INPUTS: Final = 9

PARSED_INPUT_WORDS: Final = 3
PARSED_DATA_OFFSET: Final = 0
PARSED_DATA_BYTES: Final = 1
PARSED_ENCODING: Final = 2

RAW_CONTENTS: Final = 0
TYPED_CONTENTS: Final = 1

# Encodings. FIXED: little-endian elements side by side, which is raw contents and also packed float and double.
# VARINTS: packed varints, decoded by the input's datatype.
ENCODING_FIXED: Final = 0
ENCODING_VARINTS: Final = 1

# Words from here on are the readers' notes while they read: what the first pass found, for the second to look at.
_NOTES: Final = PARSED_INPUTS + INPUTS_MAX * PARSED_INPUT_WORDS
DIMENSIONS_MAX: Final = 16
# (offset, bytes) pairs of the tensors, the requested outputs and the raw contents, in the message's order.
NOTE_TENSORS: Final = _NOTES
NOTE_OUTPUTS: Final = NOTE_TENSORS + 2 * INPUTS_MAX
NOTE_RAW: Final = NOTE_OUTPUTS + 2 * OUTPUTS_MAX
# The shape being read, and the fields of the tensor being read.
NOTE_SHAPE: Final = NOTE_RAW + 2 * INPUTS_MAX
NOTE_TENSOR: Final = NOTE_SHAPE + DIMENSIONS_MAX
NOTE_TENSOR_WORDS: Final = 16

PARSED_WORDS: Final = NOTE_TENSOR + NOTE_TENSOR_WORDS
