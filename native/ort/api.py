"""The functions of ONNX Runtime's C API that we call, by their place in its table, and its one environment.

Used by `native.ort.session`. The wheel has no header: places and arguments are those of `struct OrtApi` in ONNX
Runtime's `onnxruntime_c_api.h`, to which functions are only ever appended. Always: a call lets go of the GIL, and one
that fails raises OrtError; an address that comes out of a call is an int and belongs to whoever made the call.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from native.ort.library import GET_ERROR_CODE, GET_ERROR_MESSAGE, RELEASE_STATUS, find_library, reason_against

FATAL_ONLY: Final = 4  # OrtLoggingLevel: refusals come as errors, and a warning per run would fill the log
ARENA_ALLOCATOR: Final = 1  # OrtAllocatorType: OrtArenaAllocator
DEFAULT_MEMORY: Final = 0  # OrtMemType: OrtMemTypeDefault

# Codes of an OrtStatus that we name; any other is passed on as it is.
INVALID_ARGUMENT: Final = 2

_ADDRESS = ctypes.c_void_p
_COUNT = ctypes.c_size_t
_OUT = ctypes.POINTER(ctypes.c_void_p)

# name: (place, arguments) of functions that return an OrtStatus, 0 where all went well.
CALLS: Final[dict[str, tuple[int, tuple[Any, ...]]]] = {
    "CreateEnv": (3, (ctypes.c_int, ctypes.c_char_p, _OUT)),
    "CreateSessionFromArray": (8, (_ADDRESS, ctypes.c_char_p, _COUNT, _ADDRESS, _OUT)),
    "Run": (9, (_ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _COUNT, _ADDRESS, _COUNT, _ADDRESS)),
    "CreateSessionOptions": (10, (_OUT,)),
    "SetSessionLogSeverityLevel": (22, (_ADDRESS, ctypes.c_int)),
    "SetIntraOpNumThreads": (24, (_ADDRESS, ctypes.c_int)),
    "SetInterOpNumThreads": (25, (_ADDRESS, ctypes.c_int)),
    "CreateRunOptions": (39, (_OUT,)),
    "RunOptionsSetRunLogSeverityLevel": (41, (_ADDRESS, ctypes.c_int)),
    "RunOptionsSetTerminate": (46, (_ADDRESS,)),
    "RunOptionsUnsetTerminate": (47, (_ADDRESS,)),
    "CreateTensorAsOrtValue": (48, (_ADDRESS, _ADDRESS, _COUNT, ctypes.c_int, _OUT)),
    "CreateTensorWithDataAsOrtValue": (49, (_ADDRESS, _ADDRESS, _COUNT, _ADDRESS, _COUNT, ctypes.c_int, _OUT)),
    "IsTensor": (50, (_ADDRESS, ctypes.POINTER(ctypes.c_int))),
    "GetTensorMutableData": (51, (_ADDRESS, _OUT)),
    "GetStringTensorDataLength": (53, (_ADDRESS, ctypes.POINTER(_COUNT))),
    "GetStringTensorContent": (54, (_ADDRESS, _ADDRESS, _COUNT, _ADDRESS, _COUNT)),
    "GetTensorElementType": (60, (_ADDRESS, ctypes.POINTER(ctypes.c_int))),
    "GetDimensionsCount": (61, (_ADDRESS, ctypes.POINTER(_COUNT))),
    "GetDimensions": (62, (_ADDRESS, _ADDRESS, _COUNT)),
    "GetTensorTypeAndShape": (65, (_ADDRESS, _OUT)),
    "CreateCpuMemoryInfo": (69, (ctypes.c_int, ctypes.c_int, _OUT)),
    "GetAllocatorWithDefaultOptions": (78, (_OUT,)),
    "AddSessionConfigEntry": (130, (_ADDRESS, ctypes.c_char_p, ctypes.c_char_p)),
    "GetResizedStringTensorElementBuffer": (252, (_ADDRESS, _COUNT, _COUNT, _OUT)),
}

# name: place of functions that free what they are given and return nothing.
RELEASES: Final[dict[str, int]] = {
    "ReleaseStatus": RELEASE_STATUS,
    "ReleaseSession": 95,
    "ReleaseValue": 96,
    "ReleaseRunOptions": 97,
    "ReleaseTensorTypeAndShapeInfo": 99,
    "ReleaseSessionOptions": 100,
}
TABLE_LENGTH: Final = 1 + max(*(place for place, _ in CALLS.values()), *RELEASES.values())


class OrtError(Exception):
    """ONNX Runtime refused a call. code: its OrtErrorCode; the text is its own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class OrtMissing(RuntimeError):
    """No libonnxruntime whose C API can be used. The message says why, and what serves instead."""


class Api:
    """The table, bound. `call` makes calls, `release` frees, `environment` and `memory` are this process's own."""

    def __init__(self, table: int) -> None:
        places = (ctypes.c_void_p * TABLE_LENGTH).from_address(table)
        self._error_code = ctypes.CFUNCTYPE(ctypes.c_int, _ADDRESS)(places[GET_ERROR_CODE] or 0)
        self._error_message = ctypes.CFUNCTYPE(ctypes.c_char_p, _ADDRESS)(places[GET_ERROR_MESSAGE] or 0)
        self.run_address: int = places[CALLS["Run"][0]] or 0
        self._calls: dict[str, Callable[..., int | None]] = {
            name: ctypes.CFUNCTYPE(_ADDRESS, *arguments)(places[place] or 0)
            for name, (place, arguments) in CALLS.items()
        }
        self._releases: dict[str, Callable[[int], None]] = {
            name: ctypes.CFUNCTYPE(None, _ADDRESS)(places[place] or 0) for name, place in RELEASES.items()
        }
        self.environment = self.made("CreateEnv", FATAL_ONLY, b"roost")
        self.memory = self.made("CreateCpuMemoryInfo", ARENA_ALLOCATOR, DEFAULT_MEMORY)
        self.allocator = self.made("GetAllocatorWithDefaultOptions")

    def error(self, status: int) -> OrtError:
        """What an OrtStatus says. Frees it."""
        code, text = self._error_code(status), self._error_message(status).decode(errors="replace")
        self._releases["ReleaseStatus"](status)
        return OrtError(code, text)

    def call(self, name: str, *arguments: Any) -> None:
        """Raises OrtError where the call fails."""
        status = self._calls[name](*arguments)
        if status:
            raise self.error(status)

    def made(self, name: str, *arguments: Any) -> int:
        """The address that the call puts into its last argument."""
        out = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(out))
        return out.value or 0

    def release(self, name: str, address: int) -> None:
        self._releases[name](address)


_making = threading.Lock()


@cache
def _bound() -> Api:
    library = find_library()
    if library is None:
        raise OrtMissing(
            f"libonnxruntime: expected one with a C API, {reason_against()}. "
            "Its API for Python serves instead, and holds other threads up while a model is loaded."
        )
    return Api(library.table)


def api() -> Api:
    """The one of this process, made at the first call. Raises OrtMissing."""
    with _making:
        return _bound()
