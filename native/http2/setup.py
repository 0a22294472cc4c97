"""nghttp2's option and callback objects: made once a lane, for all of its sessions, through ctypes."""

from __future__ import annotations

import ctypes
from typing import Final

from native.library import load_library

SETTINGS_ENTRIES_MAX: Final = 32
OUTBOUND_ACKS_MAX: Final = 1000
CONTINUATIONS_MAX: Final = 8
SEND_HEADER_BYTES_MAX: Final = 16 * 1024

# The callbacks that are set, by nghttp2's names; `make_callbacks` takes their addresses in this order.
CALLBACKS: Final = (
    "on_begin_headers",
    "on_header",
    "on_frame_recv",
    "on_data_chunk_recv",
    "on_stream_close",
    "on_frame_send",
    "on_frame_not_send",
)


def _new(library: ctypes.CDLL, kind: str) -> ctypes.c_void_p:
    made = ctypes.c_void_p()
    if getattr(library, f"nghttp2_{kind}_new")(ctypes.byref(made)) != 0 or not made.value:
        raise MemoryError(f"libnghttp2: could not allocate its {kind}. Free memory and start again.")
    return made


def make_option(resets_received_max: int) -> int:
    """Address of an nghttp2_option. resets_received_max: streams a peer may reset in a second (CVE-2023-44487)."""
    library = ctypes.CDLL(load_library().path)
    option = _new(library, "option")
    library.nghttp2_option_set_no_auto_window_update(option, ctypes.c_int(1))
    library.nghttp2_option_set_max_send_header_block_length(option, ctypes.c_size_t(SEND_HEADER_BYTES_MAX))
    library.nghttp2_option_set_max_settings(option, ctypes.c_size_t(SETTINGS_ENTRIES_MAX))
    library.nghttp2_option_set_max_outbound_ack(option, ctypes.c_size_t(OUTBOUND_ACKS_MAX))
    library.nghttp2_option_set_no_closed_streams(option, ctypes.c_int(1))
    library.nghttp2_option_set_stream_reset_rate_limit(
        option, ctypes.c_uint64(resets_received_max), ctypes.c_uint64(resets_received_max)
    )
    library.nghttp2_option_set_max_continuations(option, ctypes.c_size_t(CONTINUATIONS_MAX))
    return int(option.value or 0)


def make_callbacks(*addresses: int) -> int:
    """Address of an nghttp2_session_callbacks that has the functions at these addresses, one for each of CALLBACKS."""
    library = ctypes.CDLL(load_library().path)
    callbacks = _new(library, "session_callbacks")
    for name, address in zip(CALLBACKS, addresses, strict=True):
        setter = getattr(library, f"nghttp2_session_callbacks_set_{name}_callback")
        setter(callbacks, ctypes.c_void_p(address))
    return int(callbacks.value or 0)
