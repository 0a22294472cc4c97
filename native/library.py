"""libnghttp2: where it is, whether it has all that the kernels call, and loading it.

Used before any kernel of `native/http2` is imported: compiled code that names a symbol which is not loaded ends the
process with a segmentation fault, not with an exception. So symbols are checked through ctypes first.
Looked for in this order: $ROOST_LIBNGHTTP2, the system, the wheel of `pycurl`, which carries one.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIBRARY_VARIABLE = "ROOST_LIBNGHTTP2"
SONAME = "libnghttp2.so.14"
VERSION_MIN = (1, 52, 0)  # the oldest that the adversity tests were run against

SYMBOLS = (
    "nghttp2_option_new",
    "nghttp2_option_del",
    "nghttp2_option_set_no_auto_window_update",
    "nghttp2_option_set_max_send_header_block_length",
    "nghttp2_option_set_max_settings",
    "nghttp2_option_set_max_outbound_ack",
    "nghttp2_option_set_no_closed_streams",
    "nghttp2_option_set_stream_reset_rate_limit",
    "nghttp2_option_set_max_continuations",
    "nghttp2_session_callbacks_new",
    "nghttp2_session_callbacks_del",
    "nghttp2_session_callbacks_set_on_begin_headers_callback",
    "nghttp2_session_callbacks_set_on_header_callback",
    "nghttp2_session_callbacks_set_on_frame_recv_callback",
    "nghttp2_session_callbacks_set_on_data_chunk_recv_callback",
    "nghttp2_session_callbacks_set_on_stream_close_callback",
    "nghttp2_session_callbacks_set_on_frame_send_callback",
    "nghttp2_session_callbacks_set_on_frame_not_send_callback",
    "nghttp2_session_server_new2",
    "nghttp2_session_del",
    "nghttp2_session_mem_recv",
    "nghttp2_session_mem_send",
    "nghttp2_session_want_read",
    "nghttp2_session_want_write",
    "nghttp2_session_consume",
    "nghttp2_session_resume_data",
    "nghttp2_session_get_outbound_queue_size",
    "nghttp2_session_get_last_proc_stream_id",
    "nghttp2_session_get_stream_user_data",
    "nghttp2_session_set_stream_user_data",
    "nghttp2_session_get_stream_remote_close",
    "nghttp2_session_set_local_window_size",
    "nghttp2_submit_settings",
    "nghttp2_submit_response",
    "nghttp2_submit_trailer",
    "nghttp2_submit_rst_stream",
    "nghttp2_submit_goaway",
    "nghttp2_submit_shutdown_notice",
)


class LibraryMissing(RuntimeError):
    """No usable libnghttp2. The message says what was found and how to mend it."""


@dataclass(frozen=True)
class Library:
    """A libnghttp2 that can be used. path: as given to the loader; version: as the library reports it."""

    path: str
    version: str


class _Info(ctypes.Structure):
    _fields_ = (
        ("age", ctypes.c_int),
        ("version_num", ctypes.c_int),
        ("version_str", ctypes.c_char_p),
        ("proto_str", ctypes.c_char_p),
    )


def _candidates() -> list[str]:
    chosen = os.environ.get(LIBRARY_VARIABLE)
    if chosen:
        return [chosen]
    found = [SONAME]
    pycurl = importlib.util.find_spec("pycurl")
    if pycurl is not None and pycurl.origin is not None:
        found += sorted(str(path) for path in Path(pycurl.origin).parent.glob("pycurl.libs/libnghttp2*.so*"))
    return found


def _examine(path: str) -> tuple[Library | None, str]:
    """The library at `path`, or the reason why it can't be used."""
    try:
        handle = ctypes.CDLL(path)
    except OSError as error:
        return None, str(error)
    missing = [name for name in SYMBOLS if not hasattr(handle, name)]
    if missing:
        return None, f"{path} lacks {', '.join(missing)}"
    handle.nghttp2_version.restype = ctypes.POINTER(_Info)
    version = handle.nghttp2_version(0).contents.version_str.decode()
    if tuple(int(part) for part in version.split("-")[0].split(".")) < VERSION_MIN:
        return None, f"{path} is version {version}, older than {'.'.join(map(str, VERSION_MIN))}"
    return Library(path, version), ""


@cache
def _search() -> tuple[Library | None, tuple[str, ...]]:
    reasons = []
    for path in _candidates():
        library, reason = _examine(path)
        if library is not None:
            return library, ()
        reasons.append(reason)
    return None, tuple(reasons)


def find_library() -> Library | None:
    """The libnghttp2 that `load_library` would load, or None."""
    return _search()[0]


@cache
def load_library() -> Library:
    """Loads libnghttp2 so that kernels can call it. Raises LibraryMissing, naming what was tried and the remedy."""
    library, reasons = _search()
    if library is None:
        raise LibraryMissing(
            f"libnghttp2: expected {SONAME}, {'.'.join(map(str, VERSION_MIN))} or newer; {'; '.join(reasons)}. "
            f"Install it (Debian: libnghttp2-14) or the package pycurl, or set {LIBRARY_VARIABLE}=/path/to/{SONAME}."
        )
    import llvmlite.binding

    llvmlite.binding.load_library_permanently(library.path)
    unresolved = [name for name in SYMBOLS if not llvmlite.binding.address_of_symbol(name)]
    if unresolved:
        raise LibraryMissing(f"libnghttp2: {library.path} was loaded, but {', '.join(unresolved)} can't be resolved.")
    return library
