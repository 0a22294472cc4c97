"""libonnxruntime: where the wheel keeps it, and whether its C API is the one that we call.

Used by `native.ort.api`, and by whoever chooses between this API and ONNX Runtime's own for Python. A wheel may come
without the library (its Python module then holds another copy, which exports nothing): that is no error.
Always: nothing here imports `onnxruntime`, so that a process has one copy of it, not two.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

API_VARIABLE: Final = "ROOST_ONNXRUNTIME_API"  # "python" turns the C API off, where it is to blame for something
API_VERSION: Final = 17  # of the table of functions: it only grows, so that any later release has these in place
VERSION_MIN: Final = (1, 17)

# Places in the table that are looked at here; all others are in `native.ort.api`.
CREATE_STATUS: Final = 0
GET_ERROR_CODE: Final = 1
GET_ERROR_MESSAGE: Final = 2
RELEASE_STATUS: Final = 93


@dataclass(frozen=True)
class Library:
    """A libonnxruntime that can be used. version: as it reports itself; table: address of its functions."""

    path: Path
    version: str
    table: int


class _Base(ctypes.Structure):
    """struct OrtApiBase, which is promised never to change."""

    _fields_ = (
        ("get_api", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)),
        ("get_version", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    )


def _is_as_known(table: int) -> bool:
    """What is put into a status comes out of it again, and in its place is what frees it."""
    places = (ctypes.c_void_p * (RELEASE_STATUS + 1)).from_address(table)
    create = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(places[CREATE_STATUS] or 0)
    code = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(places[GET_ERROR_CODE] or 0)
    message = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(places[GET_ERROR_MESSAGE] or 0)
    status = create(9, b"the table")
    came_out = code(status), message(status)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(places[RELEASE_STATUS] or 0)(status)
    return came_out == (9, b"the table")


def _candidates() -> list[Path]:
    """The shared libraries of the installed wheel, the newest name first."""
    wheel = importlib.util.find_spec("onnxruntime")
    if wheel is None or wheel.origin is None:
        return []
    folder = Path(wheel.origin).parent / "capi"
    return sorted((*folder.glob("libonnxruntime.so*"), *folder.glob("libonnxruntime*.dylib")), reverse=True)


def examine(path: Path) -> tuple[Library | None, str]:
    """The library at `path`, or the reason why its C API can't be used."""
    try:
        handle = ctypes.CDLL(str(path))
    except OSError as error:
        return None, str(error)
    entry = getattr(handle, "OrtGetApiBase", None)
    if entry is None:
        return None, f"{path} lacks OrtGetApiBase"
    entry.restype = ctypes.POINTER(_Base)
    base = entry().contents
    version = base.get_version().decode()
    numbers = version.split(".")[:2]
    if not all(number.isdecimal() for number in numbers) or tuple(map(int, numbers)) < VERSION_MIN:
        return None, f"{path} is version {version}, older than {'.'.join(map(str, VERSION_MIN))}"
    if f".so.{version}" not in path.name and path.name != "libonnxruntime.so" and path.suffix != ".dylib":
        return None, f"{path} says that it is version {version}"
    table = base.get_api(API_VERSION)
    if not table or not _is_as_known(table):
        return None, f"{path} has no table of functions {API_VERSION} that we know"
    return Library(path, version, table), ""


@cache
def _search() -> tuple[Library | None, str]:
    if os.environ.get(API_VARIABLE) == "python":
        return None, f"{API_VARIABLE} is python"
    reasons = []
    for path in _candidates():
        library, reason = examine(path)
        if library is not None:
            return library, ""
        reasons.append(reason)
    return None, "; ".join(reasons) or "the package onnxruntime holds no libonnxruntime"


def find_library() -> Library | None:
    """The libonnxruntime whose C API can be used, or None."""
    return _search()[0]


def available() -> bool:
    """True where sessions can go through the C API."""
    return find_library() is not None


def reason_against() -> str:
    """Why the C API is not used; "" where it is."""
    return _search()[1]
