"""Finding libonnxruntime, and what is said where there is none that can be called."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from native.ort.library import available, examine, find_library, reason_against

ROOT = Path(__file__).parents[2]


def test_the_wheels_own_library_is_found() -> None:
    library = find_library()
    assert library is not None, reason_against()
    assert (library.version, reason_against(), available()) == (version("onnxruntime"), "", True)


def test_a_file_that_is_no_library_is_named(tmp_path: Path) -> None:
    path = tmp_path / "libonnxruntime.so.1.99.0"
    path.write_bytes(b"\x7fELF")
    found, reason = examine(path)
    assert found is None
    assert str(path) in reason


def test_a_library_without_the_entry_is_named() -> None:
    path = Path(ctypes.util.find_library("m") or "libm.so.6")
    assert examine(path) == (None, f"{path} lacks OrtGetApiBase")


def test_a_library_of_another_version_than_its_name_says_is_not_called(tmp_path: Path) -> None:
    library = find_library()
    assert library is not None
    path = tmp_path / "libonnxruntime.so.1.2.3"
    path.symlink_to(library.path)
    assert examine(path) == (None, f"{path} says that it is version {library.version}")


LOOK = """
import sys
from native.ort.api import OrtMissing, api
from native.ort.library import available, reason_against
from registry_client.onnx_model import read_onnx
from server.worker.models.session import OnnxSession
from tests.worker.onnx_graphs import doubled
model = read_onnx(doubled())
session = OnnxSession(model.model_bytes, model.signature)
try:
    api()
except OrtMissing as error:
    print(error, file=sys.stderr)
print(available(), reason_against(), session.api.value, "onnxruntime" in sys.modules)
"""


@pytest.mark.parametrize(
    ("switch", "found", "error"),
    [
        ("", "True  C False", ""),
        (
            "python",
            "False ROOST_ONNXRUNTIME_API is python Python True",
            "libonnxruntime: expected one with a C API, ROOST_ONNXRUNTIME_API is python. Its API for Python serves "
            "instead, and holds other threads up while a model is loaded.",
        ),
    ],
)
def test_a_process_has_one_copy_of_onnx_runtime(switch: str, found: str, error: str) -> None:
    environment = os.environ | {"ROOST_ONNXRUNTIME_API": switch, "PYTHONPATH": str(ROOT)}
    looked = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert (looked.stdout.strip(), looked.stderr.strip()) == (found, error)
