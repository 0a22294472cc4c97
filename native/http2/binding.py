"""nghttp2's C API as compiled code sees it: functions, constants, callback signatures (nghttp2.h, 1.52 and later).

Used by the kernels of this folder. Pointers are `intp`. Importing this module needs libnghttp2 loaded
(`native.library.load_library`), since compiled code resolves these names when it is loaded.
"""

from __future__ import annotations

from typing import Any, Final

from numba import types

from native.library import load_library

load_library()

i32, i64, u8, u32, size, ssize, void = (
    types.int32,
    types.int64,
    types.uint8,
    types.uint32,
    types.uintp,
    types.intp,
    types.void,
)
address = types.intp


def _function(name: str, result: Any, *arguments: Any) -> Any:
    return types.ExternalFunction(f"nghttp2_{name}", result(*arguments))


session_server_new2 = _function("session_server_new2", i32, address, address, address, address)
session_del = _function("session_del", void, address)
session_mem_recv = _function("session_mem_recv", ssize, address, address, size)
session_mem_send = _function("session_mem_send", ssize, address, address)
session_want_read = _function("session_want_read", i32, address)
session_want_write = _function("session_want_write", i32, address)
session_consume = _function("session_consume", i32, address, i32, size)
session_resume_data = _function("session_resume_data", i32, address, i32)
session_get_outbound_queue_size = _function("session_get_outbound_queue_size", size, address)
session_get_last_proc_stream_id = _function("session_get_last_proc_stream_id", i32, address)
session_get_stream_user_data = _function("session_get_stream_user_data", address, address, i32)
session_set_stream_user_data = _function("session_set_stream_user_data", i32, address, i32, address)
session_get_stream_remote_close = _function("session_get_stream_remote_close", i32, address, i32)
session_set_local_window_size = _function("session_set_local_window_size", i32, address, u8, i32, i32)

submit_settings = _function("submit_settings", i32, address, u8, address, size)
submit_response = _function("submit_response", i32, address, i32, address, size, address)
submit_trailer = _function("submit_trailer", i32, address, i32, address, size)
submit_rst_stream = _function("submit_rst_stream", i32, address, u8, i32, u32)
submit_goaway = _function("submit_goaway", i32, address, u8, i32, u32, address, size)
submit_shutdown_notice = _function("submit_shutdown_notice", i32, address)

# Signatures of the callbacks.
ON_FRAME: Final = i32(address, address, address)  # begin_headers, frame_recv, frame_send
ON_HEADER: Final = i32(address, address, address, size, address, size, u8, address)
ON_DATA_CHUNK_RECV: Final = i32(address, u8, i32, address, size, address)
ON_STREAM_CLOSE: Final = i32(address, i32, u32, address)
ON_FRAME_NOT_SEND: Final = i32(address, address, i32, address)
READ_DATA: Final = ssize(address, i32, address, size, address, address, address)

FLAG_NONE: Final = 0
FLAG_END_STREAM: Final = 0x01
FLAG_ACK: Final = 0x01

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
GOAWAY: Final = 7

CATEGORY_REQUEST: Final = 0

ERR_DEFERRED: Final = -508
ERR_STREAM: Final = -521  # NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE: resets the one stream
ERR_CALLBACK_FAILURE: Final = -902
ERR_BAD_CLIENT_MAGIC: Final = -903
ERR_FLOODED: Final = -904

DATA_FLAG_EOF: Final = 0x01
DATA_FLAG_NO_END_STREAM: Final = 0x02

NV_FLAG_NO_COPY_NAME: Final = 0x02
NV_FLAG_NO_COPY_VALUE: Final = 0x04

NO_ERROR: Final = 0x0
INTERNAL_ERROR: Final = 0x2
CANCEL: Final = 0x8

SETTINGS_MAX_CONCURRENT_STREAMS: Final = 3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 6
