"""Checkouts: copies of the working tree in folders of their own, whose pipeline is small enough for a test.

Used by tests that run the pipeline as people do, with DVC and version control around it. Always: nothing is fetched
from anywhere, and the tree that is tested is left as it was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from pipelines.downloads import fetch_package
from pipelines.employment.source import PACKAGE
from registry_client.errors import NotInRegistry
from registry_client.folder import FolderRegistry
from registry_client.registry import Version

ROOT: Final = Path(__file__).parents[3]
OF_PIPELINES: Final = (".dvc", ".dvcignore", ".gitignore", "dvc.lock", "dvc.yaml", "locks", "params.yaml", "pipelines",
                       "registry_client")  # fmt: skip
DVC: Final = ROOT / ".venv-dvc"
ROWS: Final = 2000
# Two models that answer much alike, so that the server has nothing to hold the second for.
TREES, TREES_FIRST = 20, 19
# Of so few rows a baseline finds large shifts alone; explanations of fewer are quicker. All gates are as they were.
CHANGES: Final[dict[str, Any]] = {
    "snapshot": {"rows_max": ROWS},
    "train": {"trees": {"count": TREES}},
    "bundle": {"tau": 1, "explained_rows": 10},
    "deploy": {
        "steps": [{"weight": 0.4, "seconds": 1, "requests": 300}, {"weight": 0.5, "seconds": 1, "requests": 500}],
        "rows_per_s": 2500,
        "timeout_s": 60,
    },
}
needs_dvc = pytest.mark.skipif(
    not (DVC / "bin" / "dvc").exists(), reason="DVC is not installed: `make pipeline` installs it into .venv-dvc"
)


class Checkout:
    """root: of the copy. Its registry is a folder `registry` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def results(self) -> Path:
        return self.root / ".roost" / "pipelines" / "employment"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "server.cli", *arguments]

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """`roost` with those arguments, of the checkout's own code, in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments), cwd=self.root, env=environment(self.root, **variables), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def roost(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), cwd=self.root, env=environment(self.root, **variables), text=True,
            capture_output=True, check=False,
        )  # fmt: skip

    def pipeline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`roost pipeline run employment`."""
        return self.roost("pipeline", "run", "employment", "--registry", "registry", *arguments)

    def set(self, changes: Mapping[str, Any]) -> None:
        """Parameters of the example, in its params.yaml."""
        path = self.root / "params.yaml"
        document = yaml.safe_load(path.read_text())
        document["employment"] = merged(document["employment"], changes)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    @property
    def registry(self) -> FolderRegistry:
        return FolderRegistry(self.root / "registry")

    def commit(self) -> str:
        return git(self.root, "rev-parse", "HEAD").strip()

    def changed(self) -> list[str]:
        """Files that version control has otherwise."""
        return git(self.root, "diff", "--name-only").split()

    def versions(self) -> tuple[Version, ...]:
        """Those registered, oldest first."""
        try:
            return self.registry.versions("employment")
        except NotInRegistry:
            return ()


def merged(document: Any, changes: Any) -> Any:
    """Values of `changes` in place of the document's, inside mappings too."""
    if not (isinstance(document, dict) and isinstance(changes, Mapping)):
        return changes
    return {**document, **{key: merged(document.get(key), value) for key, value in changes.items()}}


def environment(root: Path, **variables: str) -> dict[str, str]:
    """Of a process that runs the pipelines of `root`, and the server of this tree, whose kernels are compiled."""
    path = os.pathsep.join(map(str, (root, ROOT, ROOT / "clients" / "python")))
    caches = {"ROOST_REGISTRY__CACHE": str(root / ".cache"), "DVC_SITE_CACHE_DIR": str(root / ".dvc" / "tmp" / "site")}
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "NO_COLOR": "1", **caches, **variables}


def checkout(folder: Path) -> Checkout:
    """A copy with one commit, the checkout's environments and what was downloaded."""
    copy_tree(ROOT, folder)
    (folder / ".venv").symlink_to(sys.prefix)
    if DVC.exists():
        (folder / ".venv-dvc").symlink_to(DVC)
    kept = fetch_package(PACKAGE, ROOT / ".roost" / "data")
    (folder / ".roost" / "data").mkdir(parents=True)
    (folder / ".roost" / "data" / kept.name).symlink_to(kept)
    made = Checkout(folder)
    made.set({**CHANGES, "first": [f"train.trees.count={TREES_FIRST}"]})
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder)
    return made


def copy_tree(root: Path, folder: Path) -> None:
    """What pipelines are made of, as far as version control has it or would take it."""
    for name in git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", *OF_PIPELINES).split("\0"):
        if name and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)


def commit(root: Path) -> None:
    """All that is there and not ignored."""
    git(root, "add", "--all")
    git(root, "-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "commit", "--quiet", "--message", "all")


def git(root: Path, *arguments: str) -> str:
    # Whoever commits has hooks, signatures and templates of their own.
    variables = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout
