"""A counting program: which columns of which tensors fall into which bins, as arrays that a kernel can read.

Built once for each loaded model by `program.py`, kept alive there. Always: every index and offset of the tables lies
inside what it points into; that is checked when they are built, so that a kernel checks only what comes with a batch.
"""

from __future__ import annotations

from typing import Final

# The program's words, int64.
PROGRAM_FEATURES: Final = 0  # address of int64[features, FEATURE_WORDS]
PROGRAM_FEATURE_COUNT: Final = 1
PROGRAM_TENSORS: Final = 2  # address of int64[sides, tensors, TENSOR_WORDS]: where a batch's tensors are
PROGRAM_TENSOR_COUNT: Final = 3
PROGRAM_INPUT_TENSORS: Final = 4  # the first so many are inputs
PROGRAM_THRESHOLDS: Final = 5  # address of float64[thresholds]
PROGRAM_THRESHOLDS_32: Final = 6  # address of float32[thresholds]: each the largest that is not above
PROGRAM_THRESHOLD_COUNT: Final = 7
PROGRAM_TARGETS: Final = 8  # address of int64[targets]
PROGRAM_TARGET_COUNT: Final = 9
PROGRAM_COUNTS: Final = 10  # address of int64[sides, buckets, bins], in the plane
PROGRAM_BINS: Final = 11
PROGRAM_BUCKETS: Final = 12  # address of uint8[sides, rows_max]: the bucket of each row of the batch
PROGRAM_ROWS_MAX: Final = 13
PROGRAM_SCRATCH: Final = 14  # address of uint8[sides, SCRATCH_BYTES]
PROGRAM_EVERY: Final = 15  # one row of so many is counted
PROGRAM_STATE: Final = 16  # and the next, by side: of the generator that draws those rows
PROGRAM_WORDS: Final = 18

# A feature's record.
FEATURE_TENSOR: Final = 0
FEATURE_ELEMENT: Final = 1  # its place in a row, or ARGMAX
FEATURE_THRESHOLDS_AT: Final = 2
FEATURE_THRESHOLDS: Final = 3
FEATURE_TARGETS_AT: Final = 4  # THRESHOLDS + 3 of them: by thresholds below the value, then missing, then non-finite
FEATURE_BINS_AT: Final = 5  # its first bin among all
FEATURE_WORDS: Final = 6

ARGMAX: Final = -1  # the place of the row's largest element

# A tensor of the batch at hand. Datatype and elements are the model's, the rest is filled in for each batch.
TENSOR_ADDRESS: Final = 0
TENSOR_BYTES: Final = 1
TENSOR_DATATYPE: Final = 2
TENSOR_ROW_ELEMENTS: Final = 3
TENSOR_ELEMENT_BYTES: Final = 4
TENSOR_WORDS: Final = 5

# Rows are looked at in chunks whose column fits the first cache.
CHUNK: Final = 256
# A side's scratch, in bytes: the column's values of either width, their places among thresholds, the rows picked, and
# where the counts of each row's bucket begin.
SCRATCH_VALUES_32: Final = 0
SCRATCH_VALUES: Final = CHUNK * 4
SCRATCH_PLACES: Final = CHUNK * 12
SCRATCH_PICKED: Final = CHUNK * 16
SCRATCH_BUCKETS: Final = CHUNK * 24
SCRATCH_BYTES: Final = CHUNK * 32

# Of a batch smaller than this each value meets all thresholds, of a larger one thresholds meet all values, so many at a
# time. A feature's thresholds are filled up with infinities, which nothing is above.
SMALL: Final = 4
AT_A_TIME: Final = 4
