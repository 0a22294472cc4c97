"""What the compiler made of all kernels and callbacks of `native`: nothing allocates, raises or leaves its arrays.

Each test runs a process of its own, because Numba looks at its switches while it compiles and keeps no code to look
at once a kernel comes from its cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# An allocation, and an exception that might be raised, whose arguments lie pickled in the code.
FORBIDDEN = ("NRT_Allocate", "NRT_MemInfo_alloc", "pickledata", "picklebuf")

LOOK = """
import importlib, json, pkgutil
import numpy as np
from numba.core.registry import CPUDispatcher
import native
from numba import cfunc
from numba.core.ccallback import CFunc
from native.wire.kernel import kernel

@kernel("int64(int64)", cache=False)
def planted_allocation(count):
    return np.zeros(count).shape[0]

@kernel("int64(int64)", cache=False)
def planted_exception(count):
    if count < 0:
        raise ValueError("negative")
    return count

@cfunc("int64(int64)")
def planted_callback(count):
    if count < 0:
        raise ValueError("negative")
    return count

def code(compiled):
    text = compiled.inspect_llvm()
    return text if isinstance(text, str) else "".join(text.values())

found = {each.__name__: each for each in (planted_allocation, planted_exception, planted_callback)}
for module in pkgutil.walk_packages(native.__path__, "native."):
    for thing in vars(importlib.import_module(module.name)).values():
        if isinstance(thing, CPUDispatcher):
            found[f"{thing.py_func.__module__}.{thing.py_func.__name__}"] = thing
        elif isinstance(thing, CFunc):
            found[f"{module.name}.{thing.__name__}"] = thing
print(json.dumps({name: code(each) for name, each in found.items()}))
"""


def run(program: list[str], tmp_path: Path, **switches: str) -> subprocess.CompletedProcess[str]:
    """Python on the project, with the compiler's switches and kernels compiled anew."""
    environment = os.environ | {"ROOST_KERNEL_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)} | switches
    return subprocess.run(
        [sys.executable, *program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.timeout(240)
def test_no_kernel_allocates_or_raises(tmp_path: Path) -> None:
    # Compiled in half the time: what the least of optimizing has found to be dead, the most of it has, too.
    finished = run(["-c", LOOK], tmp_path, NUMBA_OPT="1")
    assert finished.returncode == 0, finished.stderr
    code = json.loads(finished.stdout)
    offences = {name: [word for word in FORBIDDEN if word in text] for name, text in code.items()}
    assert offences.pop("planted_allocation"), "the alarm for allocations does not ring"
    assert offences.pop("planted_exception"), "the alarm for exceptions does not ring"
    assert offences.pop("planted_callback"), "the alarm for exceptions in callbacks does not ring"
    assert {name.split(".")[1] for name in offences} >= {"wire", "lane", "batch", "http2", "plane", "drift"}
    assert "native.http2.callbacks.on_header" in offences, "callbacks are missing"
    assert len(offences) > 90, "kernels are missing"
    assert min(map(len, code.values())) > 1000, "some code was not to be seen"
    assert {name: words for name, words in offences.items() if words} == {}


PLANTED_INDEX = """
import numpy as np
from native.wire.kernel import kernel

@kernel("int64(uint8[::1], int64)", cache=False)
def planted_index(buffer, position):
    return buffer[position]

planted_index(np.zeros(4, np.uint8), 4)
"""


@pytest.mark.timeout(240)
def test_no_kernel_leaves_its_arrays(tmp_path: Path) -> None:
    planted = run(["-c", PLANTED_INDEX], tmp_path, NUMBA_BOUNDSCHECK="1")
    assert "IndexError" in planted.stderr, "bounds are not checked at all"
    tests = ["-m", "pytest", "-q", "-k", "compiled or planted or oracle_does", "tests/wire/test_kernels_and_oracles.py"]
    tests.append("tests/drift/test_counting_kernels.py")
    finished = run(tests, tmp_path, NUMBA_BOUNDSCHECK="1", NUMBA_OPT="0")  # which is compiled in half the time
    assert finished.returncode == 0, finished.stdout


@pytest.mark.timeout(240)
def test_kernels_mean_the_same_when_all_of_them_run_as_python(tmp_path: Path) -> None:
    """`.py_func` calls compiled leaves. Here nothing is compiled, so that no arithmetic hides in a leaf."""
    tests = ["-m", "pytest", "-q", "-W", "error::RuntimeWarning", "tests/wire/kernels_as_python.py"]
    finished = run(tests, tmp_path, NUMBA_DISABLE_JIT="1")
    assert finished.returncode == 0, finished.stdout
