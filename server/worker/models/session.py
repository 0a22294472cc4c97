"""A model's ONNX Runtime session: arrays in, arrays out, by name.

Built from bytes, never from a path: what was verified is what runs. One thread a session and no spinning, since the
worker decides what runs where. It goes through ONNX Runtime's C API, which loads and frees beside traffic without
holding it up; where the wheel has no library to call, through its API for Python, with the same answers.
Always: arrays follow registry_client.tensors (BYTES as `bytes` objects, BF16 as the uint16 of their bits), outputs are
owned by the caller, and every failure of a Run is a StatusError.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from native.ort.library import available
from registry_client.tensors import Signature
from server.worker.models.bindings import Bindings, Binds, RunOptions

Array = npt.NDArray[np.generic]


class Api(Enum):
    """Which of ONNX Runtime's two."""

    C = "C"
    PYTHON = "Python"


class Backend(Binds, Protocol):
    """A session through one of the two."""

    def run_options(self) -> RunOptions: ...

    def run(self, inputs: Mapping[str, Array], options: Any) -> dict[str, Array]: ...


class OnnxSession:
    """One session. `run` may be called from any thread; `close` frees it, once what runs has ended.

    api: the one to use, the best that is there where none is given. Raises SessionRefused.
    """

    def __init__(self, model_bytes: bytes, signature: Signature, api: Api | None = None) -> None:
        self.api = api or (Api.C if available() else Api.PYTHON)
        self._backend: Backend | None = _backend(self.api, model_bytes, signature)
        self._bindings: list[Bindings] = []
        self.signature = signature

    def bindings(self) -> Bindings:
        """Runs over a batcher's memory. Only for models that batch: fixed rows, fixed-width types."""
        backend = self._open()
        bindings = Bindings(backend, backend.run_options())
        self._bindings.append(bindings)
        return bindings

    def run_options(self) -> RunOptions:
        """For `run`: ends one run, from another thread, within a millisecond."""
        return self._open().run_options()

    def run(self, inputs: Mapping[str, Array], options: RunOptions | None = None) -> dict[str, Array]:
        """All outputs for these inputs. Raises StatusError where the model cannot compute them."""
        return self._open().run(inputs, options)

    def close(self) -> None:
        """Frees the session and all that its bindings hold. A run that is under way ends first, and then frees."""
        for bindings in self._bindings:
            bindings.close()
        self._bindings.clear()
        self._backend = None

    def _open(self) -> Backend:
        if self._backend is None:
            raise RuntimeError("session: expected one that is open, got one that was closed. Load the model again.")
        return self._backend


def _backend(api: Api, model_bytes: bytes, signature: Signature) -> Backend:
    # Imported where it is used: each is one more copy of ONNX Runtime in the process.
    if api is Api.C:
        from server.worker.models.c_session import CSession

        return CSession(model_bytes, signature)
    from server.worker.models.python_session import PythonSession

    return PythonSession(model_bytes, signature)
