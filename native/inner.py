"""Kernels that only other kernels call: compiled, or read from the cache, when one of those is compiled.

Used by every room of kernels. What a kernel calls is part of its own machine code, so that a process which finds its
kernels in the cache never needs the ones inside: to read them took a third of a second of every worker's start.
Always: the declared signature is the only one, as it is of a `kernel`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.typeinfer import register_dispatcher

Signature = str


class InnerKernel(CPUDispatcher):  # type: ignore[misc]  # Numba has no types
    """A dispatcher that compiles its one signature when it is first called, compiled into another, or `ready`.

    Before that `overloads` and `signatures` are empty.
    """

    declared: Signature

    def ready(self) -> None:
        """Does nothing the second time. Threads that come meanwhile wait."""
        with global_compiler_lock:
            if not self.overloads:
                with register_dispatcher(self):
                    self.compile(self.declared)
                self.disable_compile()

    def __call__(self, *arguments: Any) -> Any:
        self.ready()
        return super().__call__(*arguments)

    def get_call_template(self, arguments: Any, keywords: Any) -> Any:
        """As another kernel that is being compiled asks for it."""
        self.ready()
        return super().get_call_template(arguments, keywords)

    def inspect_llvm(self, signature: Any = None) -> Any:
        self.ready()
        return super().inspect_llvm(signature)


def inner(signature: Signature) -> Callable[[Callable[..., Any]], Any]:
    """Declares one. Under NUMBA_DISABLE_JIT=1 it stays plain Python."""

    def declared(function: Callable[..., Any]) -> Any:
        if config.DISABLE_JIT:
            return function
        options = {"nopython": True, "nogil": True, "error_model": "numpy"}
        kernel = InnerKernel(function, targetoptions=options)
        kernel.declared = signature
        kernel.enable_caching()
        return kernel

    return declared
