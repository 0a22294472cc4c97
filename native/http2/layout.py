"""nghttp2's own structures, as the callbacks read and the lane fills them (nghttp2.h, 64-bit)."""

from __future__ import annotations

from typing import Final

import numpy as np

from native.lane.layout import OUTBOX_BYTES

NV = np.dtype(
    [
        ("name", np.int64),
        ("value", np.int64),
        ("name_bytes", np.int64),
        ("value_bytes", np.int64),
        ("flags", np.uint8),
        ("padding", np.uint8, (7,)),
    ]
)
SETTINGS_ENTRY = np.dtype([("id", np.int32), ("value", np.uint32)])
DATA_PROVIDER = np.dtype([("source", np.int64), ("read_callback", np.int64)])
# The part of `nghttp2_frame` that the callbacks read: the header, common to all frames, and what follows it.
FRAME = np.dtype(
    [
        ("payload_bytes", np.int64),
        ("stream_id", np.int32),
        ("type", np.uint8),
        ("flags", np.uint8),
        ("reserved", np.uint8, (2,)),
        ("detail", np.uint32),  # at offset 16: the error code of RST_STREAM, the padding of DATA
        ("error_code", np.uint32),  # of GOAWAY, at offset 20
        ("skipped", np.uint8, (32,)),
        ("category", np.int32),  # of HEADERS, at offset 56, behind padlen, pri_spec, nva and nvlen
        ("padding", np.uint8, (4,)),
    ]
)
NV_BYTES: Final = 40
assert NV.itemsize == NV_BYTES, "sizeof(nghttp2_nv)"
assert FRAME.fields is not None
assert FRAME.fields["category"][1] == 56, "offsetof(nghttp2_headers, cat)"
assert FRAME.fields["error_code"][1] == 20, "offsetof(nghttp2_goaway, error_code)"
assert FRAME.fields["detail"][1] == 16, "offsetof(nghttp2_rst_stream, error_code), offsetof(nghttp2_data, padlen)"

# The largest piece that nghttp2_session_mem_send hands over: a DATA frame of 16,384 bytes and its header, or a header
# block within the bound that is set by nghttp2_option_set_max_send_header_block_length.
SEND_PIECE_BYTES_MAX: Final = 32 * 1024
assert OUTBOX_BYTES >= 2 * SEND_PIECE_BYTES_MAX
