"""Register: the bundle into a registry, if it is not worse than what is stable there. After `bundle.py`.

The first version of a model becomes @stable, since there is nothing to compare it with, unless it is spoilt on purpose;
a later one is only there, until a server has tried it on its traffic. Always: what is pushed was read back, verified,
and answered its golden examples; what depends on the registry (the comparison, the parent) hangs beside the version,
never inside.
"""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.definition import Classification
from pipelines.evaluation.comparison import compare
from pipelines.evaluation.predicting import predictions
from pipelines.examples import Examples, read_examples
from pipelines.refusal import Refusal
from pipelines.stable import stable_version
from pipelines.training.tracking import training_run
from pipelines.work import Work, read_json, write_json
from registry_client import canonical_json
from registry_client.cache import BundleCache
from registry_client.errors import NotInRegistry
from registry_client.names import USUAL_ALIAS
from registry_client.opening import open_registry
from registry_client.reference_run import ReferenceRun
from registry_client.registry import Registry, Version
from registry_client.verify import VerifiedBundle, check_contents, read_verified

PROVENANCE_FILE: Final = "provenance.json"
COMPARISON_FILE: Final = "comparison.json"
REPOSITORY: Final = Path(__file__).parents[2]


def run(work: Work) -> str:
    """Registers `bundle/`. Raises Refusal where it is worse than the stable version, and what registries raise."""
    bundle = read_verified(work.of("bundle"))
    check_contents(bundle, ReferenceRun(bundle.model_bytes, bundle.manifest.signature))
    registry = open_registry(work.registry)
    known, stable = _known(registry, bundle), stable_version(registry, work.definition.name)
    version = known if known is not None else _register(work, registry, bundle, stable)
    write_registered(work, version)
    was = "was there already" if known is not None else "new"
    alias = " and @stable" if USUAL_ALIAS in version.aliases else ""
    return f"{version.name} version {version.version}, {was}{alias}, digest {version.digest[:12]}"


def write_registered(work: Work, version: Version) -> None:
    """Which version is to be deployed."""
    with work.output("register") as folder:
        write_json(
            folder / "registered.json",
            {"name": version.name, "version": version.version, "digest": version.digest, "registry": work.registry},
        )


def _known(registry: Registry, bundle: VerifiedBundle) -> Version | None:
    """The version that this very bundle is already."""
    try:
        versions = registry.versions(bundle.manifest.name)
    except NotInRegistry:
        return None
    return next((version for version in versions if version.digest == bundle.digest), None)


def _register(work: Work, registry: Registry, bundle: VerifiedBundle, stable: Version | None) -> Version:
    comparison = None
    if stable is not None:
        work.say(f"comparing with version {stable.version}, which is stable")
        comparison = _compared(work, registry, bundle, stable)
    first = stable is None and not (work.candidate or work.spoilt)
    work.say("pushing")
    version = registry.push(work.of("bundle"), aliases=(USUAL_ALIAS,) if first else (), digest=bundle.digest)
    _attach(registry, version, PROVENANCE_FILE, _provenance(work, stable))
    if comparison is not None:
        _attach(registry, version, COMPARISON_FILE, comparison)
    return version


def _compared(work: Work, registry: Registry, bundle: VerifiedBundle, stable: Version) -> Mapping[str, Any]:
    """By how much the bundle is better or worse than the stable version on the evaluation's rows. Raises Refusal."""
    if work.spoilt:
        return {"with": _named(stable), "compared": False, "because": "spoilt on purpose, for a drill"}
    theirs = registry.fetch(stable, BundleCache(work.downloads / "bundles"))
    if theirs.manifest.signature.inputs != bundle.manifest.signature.inputs:
        raise Refusal(
            f"{stable.name}", expected=f"the inputs of version {stable.version}, which is stable", got="others",
            hint="Callers send what that one takes: give a model with other inputs a name of its own.",
        )  # fmt: skip
    examples = read_examples(work.of("features") / "evaluation.parquet")
    report = compare(
        work.definition.task,
        examples.labels,
        _answers(work, bundle, examples),
        _answers(work, theirs, examples),
        examples.slices,
        work.parameters.comparison,
        work.parameters.train.seed,
        median=read_json(work.of("evaluate") / "report.json")["label"]["median"],
        slice_rows_min=work.parameters.gates.slice_rows_min,
    )
    if not report.passed:
        raise Refusal(
            "comparison", expected=f"nothing worse than version {stable.version}, which is stable", got=report.words,
            hint="Nothing is registered. The table above says where it falls.", table=report.table(),
        )  # fmt: skip
    return {"with": _named(stable), "compared": True, **report.as_json()}


def _answers(work: Work, bundle: VerifiedBundle, examples: Examples) -> npt.NDArray[np.float64]:
    run = ReferenceRun(bundle.model_bytes, bundle.manifest.signature)
    positive = work.definition.task.positive if isinstance(work.definition.task, Classification) else None
    return predictions(run, examples, positive)


def _provenance(work: Work, parent: Version | None) -> Mapping[str, Any]:
    """What no rerun would make again: when, where, from which commit, and beside what."""
    run, measured = training_run(work), work.beside / "measured.json"
    return {
        "git": git_state(),
        "made_at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "mlflow": None if run is None else asdict(run),
        "measured": read_json(measured) if measured.exists() else None,
        "parent": None if parent is None else _named(parent),
    }


def git_state(repository: Path = REPOSITORY) -> Mapping[str, Any] | None:
    """The commit that is checked out, and whether what runs differs from it; None outside version control.

    dvc.lock is what runs leave, and no reason of theirs; a module that was not added yet is one.
    """
    changed = ("--", ".", ":(exclude)dvc.lock")
    try:
        commit = _git(repository, "rev-parse", "--verify", "HEAD")
        dirty = _git(repository, "status", "--porcelain", "--untracked-files=no", *changed)
        dirty += _git(repository, "ls-files", "--others", "--exclude-standard", "--", "pipelines", "registry_client")
    except (OSError, subprocess.CalledProcessError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip()
        print(f"register: no commit is recorded: {told.partition(chr(10))[0][:200]}", file=sys.stderr)
        return None
    return {"commit": commit, "dirty": bool(dirty)}


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _attach(registry: Registry, version: Version, file_name: str, document: Mapping[str, Any]) -> None:
    registry.attach(version.name, version.version, file_name, canonical_json.encode(document) + b"\n")


def _named(version: Version) -> dict[str, object]:
    return {"version": version.version, "digest": version.digest}
