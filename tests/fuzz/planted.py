"""Runs the fuzzer on kernels of which one has lost a check, to show that the alarm rings.

`python -m tests.fuzz.planted MODULE WITH WITHOUT`: in the source of MODULE the text WITH becomes WITHOUT before it is
compiled. Needs a folder of compiled kernels of its own, or it would run, and leave behind, the wrong ones.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SECONDS_MAX = 60
SEED = 1


class _Planting(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and loads it with one text replaced by another wherever it occurs."""

    def __init__(self, module: str, with_check: str, without: str) -> None:
        self._module, self._with, self._without = module, with_check, without

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> object:
        if name != self._module:
            return None
        self._file = Path(*name.split(".")).with_suffix(".py").resolve()
        return importlib.util.spec_from_file_location(name, self._file, loader=self)  # type: ignore[arg-type]

    def exec_module(self, module: ModuleType) -> None:
        source = self._file.read_text(encoding="utf-8")
        if self._with not in source:
            sys.exit(f"{self._module}: the check to be removed is not there: {self._with}")
        exec(compile(source.replace(self._with, self._without), str(self._file), "exec"), module.__dict__)


def main() -> None:
    sys.meta_path.insert(0, _Planting(*sys.argv[1:4]))
    from tests.fuzz.readers import fuzz

    print(dict(fuzz(SECONDS_MAX, SEED)))


if __name__ == "__main__":
    main()
