"""No Python calls an inner kernel: the first call would read it from the cache, beside traffic."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

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


def called_by_python(source: str, module: str) -> Iterator[str]:
    tree = ast.parse(source)
    names = inner_names(tree, module)
    for node in tree.body:
        if not is_compiled(node):
            yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name) and each.id in names)


def test_what_python_calls_is_loaded_when_it_is_imported() -> None:
    callers = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(callers) > 300
    found = {}
    for path in callers:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[module] = set(called_by_python(path.read_text(), module))
    assert {module: names for module, names in found.items() if names} == {}


def test_a_call_of_one_is_seen() -> None:
    source = "from native.http2.requests import end_request\n\ndef call():\n    return end_request(1)\n"
    assert set(called_by_python(source, "server.planted")) == {"end_request"}
