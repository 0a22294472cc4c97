"""No Python calls an inner kernel: the first call would read it from the cache, beside traffic."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import native
from native.inner import InnerKernel
from native.library import load_library

load_library()

ROOT = Path(__file__).resolve().parents[2]
COMPILED = {"kernel", "inner", "njit", "cfunc", "overload", "intrinsic"}
ROOMS = ("native", "server", "benchmarks", "loadtests")


def inner_kernels(module: str) -> set[str]:
    """Names in a module of `native`, its own and those that it imports."""
    return {name for name, thing in vars(importlib.import_module(module)).items() if isinstance(thing, InnerKernel)}


def is_compiled(node: ast.AST) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    called = [each.func if isinstance(each, ast.Call) else each for each in decorators]
    return any(isinstance(each, ast.Name) and each.id in COMPILED for each in called)


def inner_names(tree: ast.Module, module: str) -> set[str]:
    if module.startswith("native."):
        return inner_kernels(module)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {
        alias.asname or alias.name
        for node in imports if (node.module or "").startswith("native.")
        for alias in node.names if alias.name in inner_kernels(node.module or "")
    }  # fmt: skip


def named(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def called_by_python(source: str, module: str, everywhere: set[str]) -> Iterator[str]:
    """everywhere: names of all inner kernels, which are looked for in calls of a module's."""
    tree = ast.parse(source)
    names, natives = inner_names(tree, module), native_names(tree)
    for node in tree.body:
        if is_compiled(node):
            continue
        for each in ast.walk(node):
            known = everywhere if isinstance(each, ast.Attribute) and is_of(each, natives) else names
            if (name := named(each)) in known and name is not None:
                yield name


def native_names(tree: ast.Module) -> set[str]:
    """What is imported from `native`, as it is called here, and `native` itself."""
    found: set[str] = set()
    for each in ast.walk(tree):
        if isinstance(each, ast.Import):
            imported = [alias for alias in each.names if alias.name.partition(".")[0] == "native"]
        elif isinstance(each, ast.ImportFrom) and (each.module or "").partition(".")[0] == "native":
            imported = each.names
        else:
            continue
        found |= {alias.asname or alias.name.partition(".")[0] for alias in imported}
    return found


def is_of(node: ast.Attribute, natives: set[str]) -> bool:
    """Whether it is an attribute of one of these, or of what is within."""
    value: ast.AST = node.value
    while isinstance(value, ast.Attribute):
        value = value.value
    return isinstance(value, ast.Name) and value.id in natives


def all_inner_kernels() -> set[str]:
    modules = [module.name for module in pkgutil.walk_packages(native.__path__, "native.")]
    return {name for module in modules for name in inner_kernels(module)}


def test_what_python_calls_is_loaded_when_it_is_imported() -> None:
    callers = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(callers) > 300
    everywhere = all_inner_kernels()
    assert len(everywhere) > 100
    found = {}
    for path in callers:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[module] = set(called_by_python(path.read_text(), module, everywhere))
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from native.http2.requests import end_request\ndef call(): return end_request(1)",
        "from native.http2.requests import end_request as other\ndef call(): return other(1)",
        "from native.http2 import requests\ndef call(): return requests.end_request(1)",
        "import native.http2.requests as r\nclass C:\n    def call(self): return r.end_request(1)",
        "import native.http2.requests\nnative.http2.requests.end_request(1)",
    ],
)
def test_a_call_of_one_is_seen(source: str) -> None:
    assert set(called_by_python(source, "server.planted", all_inner_kernels())) & {"end_request", "other"}


def test_a_call_beside_it_is_seen_and_one_in_a_kernel_is_none() -> None:
    source = '@kernel("int64()")\ndef compiled(): return end_request(1)\n'
    everywhere = all_inner_kernels()
    assert not set(called_by_python(source, "native.http2.requests", everywhere))
    source = "def python(): return end_request(1)\n"
    assert set(called_by_python(source, "native.http2.requests", everywhere)) == {"end_request"}


THREADS = """
import threading
from native.inner import inner

@inner("int64(int64)")
def planted(count):
    return count + 1

answers = []
def call():
    try: answers.append(planted(1))
    except Exception as error: answers.append(error)
threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert answers == [2] * 4, answers
assert len(planted.overloads) == 1
try: planted("no number")
except TypeError: pass
else: raise AssertionError("only the declared signature is there")
"""


def test_threads_that_call_one_first_get_its_one_signature(tmp_path: Path) -> None:
    program = tmp_path / "threads.py"
    program.write_text(THREADS)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ROOST_KERNEL_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, str(program)], env=environment, check=True)
