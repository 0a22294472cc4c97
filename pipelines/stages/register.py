"""Register: the bundle into a registry, if it is not worse than what is stable there. After `bundle.py`.

The first version of a model becomes @stable, since there is nothing to compare it with, unless it is spoilt on purpose;
a later one is only there, until a server has tried it on its traffic. Always: what is pushed was read back, verified,
and answered its golden examples; what depends on the registry (the comparison, the parent) hangs beside the version,
never inside.
"""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_info

from pipelines.definition import Classification
from pipelines.evaluation import against_stable, gates
from pipelines.evaluation.comparison import compare
from pipelines.evaluation.gates import Check, telling
from pipelines.evaluation.predicting import predictions
from pipelines.evaluation.table import failed_lines
from pipelines.examples import Examples, read_examples
from pipelines.refusal import Refusal
from pipelines.stable import is_first, stable_version
from pipelines.training.tracking import training_run
from pipelines.work import Work, read_json, write_json
from registry_client import canonical_json
from registry_client.cache import BundleCache
from registry_client.errors import NotInRegistry
from registry_client.lineage.gathering import COMPARISON_FILE, PROVENANCE_FILE
from registry_client.names import USUAL_ALIAS
from registry_client.opening import open_registry, shown_location
from registry_client.reference_run import ReferenceRun
from registry_client.registry import Registry, Version
from registry_client.verify import VerifiedBundle, check_contents, read_verified

FAILED_COMPARISON: Final = "failed_comparison.json"
REPOSITORY: Final = Path(__file__).parents[2]


def run(work: Work) -> str:
    """Registers `bundle/`. Raises Refusal where it is worse than the stable version, and what registries raise.

    Run again it completes what a run that was killed has left undone: each step looks for what is there.
    """
    bundle = read_verified(work.of("bundle"))
    check_contents(bundle, ReferenceRun(bundle.model_bytes, bundle.manifest.signature))
    registry, name = open_registry(work.registry), work.definition.name
    first = not work.candidate and not work.spoilt and is_first(registry, name, bundle.digest)
    known, stable = _known(registry, bundle), stable_version(registry, name)
    comparison = _comparison(work, registry, bundle, known, stable)
    _check_unmoved(registry, name, stable)
    work.say("pushing")
    version = known or registry.push(work.of("bundle"), digest=bundle.digest)
    beside = registry.attachments(name, version.version)
    if PROVENANCE_FILE not in beside:
        _attach(registry, version, PROVENANCE_FILE, _provenance(work, stable))
    if comparison is not None:
        _attach(registry, version, COMPARISON_FILE, comparison)
    if first:  # last: what is @stable has all that belongs beside it
        _check_unmoved(registry, name, None)
        version = registry.set_alias(name, USUAL_ALIAS, version.version)
    write_registered(work, version)
    was = "was there already" if known is not None else "new"
    alias = " and @stable" if USUAL_ALIAS in version.aliases else ""
    if alias and work.parameters.snapshot.rows_max is not None:
        alias += f", although of a sample (rows_max={work.parameters.snapshot.rows_max}): --candidate leaves it aside"
    blind = ""
    if comparison is not None and comparison.get("baseline") is False:
        blind = f"; version {comparison['with']['version']} does not tell what it learnt from, so that is not compared"
    return f"{version.name} version {version.version}, {was}{alias}, digest {version.digest[:12]}{blind}"


def _comparison(
    work: Work, registry: Registry, bundle: VerifiedBundle, known: Version | None, stable: Version | None
) -> Mapping[str, Any] | None:
    """With the version that is stable now; None where there is none, it is this one, or it was made already."""
    if stable is None or stable.digest == bundle.digest:
        return None
    if known is not None and _was_compared(work, registry, known, stable):
        return None
    work.say(f"comparing with version {stable.version}, which is stable")
    document, checks = _compared(work, registry, bundle, stable)
    failed = work.beside / FAILED_COMPARISON
    failed.unlink(missing_ok=True)
    if not all(check.passed for check in checks):
        write_json(failed, document)
        if known is not None:  # what it once passed is not left to speak for it
            _attach(registry, known, COMPARISON_FILE, document)
        raise _refusal(stable, known, checks, failed)
    return document


def _was_compared(work: Work, registry: Registry, known: Version, stable: Version) -> bool:
    """With that version, as strictly as is asked for now, and passed. Nothing vouches for what hangs beside a version:
    what can't be read is made again."""
    content = registry.attachments(known.name, known.version).get(COMPARISON_FILE)
    try:
        document = None if content is None else json.loads(content)
    except ValueError:
        return False
    if not isinstance(document, dict) or document.get("passed") is not True:
        return False
    same = document.get("settings") == work.parameters.comparison.model_dump(mode="json")
    compared = document.get("with")
    return same and isinstance(compared, dict) and compared.get("digest") == stable.digest


def _check_unmoved(registry: Registry, name: str, stable: Version | None) -> None:
    """Raises Refusal where another version has become stable meanwhile: that one was not compared with."""
    now = stable_version(registry, name)
    if (None if now is None else now.digest) != (None if stable is None else stable.digest):
        raise Refusal(
            f"{name}@{USUAL_ALIAS}", expected="it to stay while a version is registered", got="another one now",
            hint="Run this again, which compares with that one.",
        )  # fmt: skip


def write_registered(work: Work, version: Version) -> None:
    """Which version is to be deployed."""
    place = {"registry": shown_location(work.registry)}
    with work.output("register") as folder:
        write_json(
            folder / "registered.json",
            {"name": version.name, "version": version.version, "digest": version.digest, **place},
        )


def _known(registry: Registry, bundle: VerifiedBundle) -> Version | None:
    """The version that this very bundle is already."""
    try:
        versions = registry.versions(bundle.manifest.name)
    except NotInRegistry:
        return None
    return next((version for version in versions if version.digest == bundle.digest), None)


def _compared(
    work: Work, registry: Registry, bundle: VerifiedBundle, stable: Version
) -> tuple[Mapping[str, Any], tuple[Check, ...]]:
    """By how much the bundle is better or worse than the stable version on the evaluation's rows, and whether both have
    read alike records. Raises Refusal where they cannot be compared."""
    if work.spoilt:
        return {"with": _named(stable), "compared": False, "because": "spoilt on purpose, for a drill"}, ()
    theirs = registry.fetch(stable, BundleCache(work.downloads / "bundles"))
    if theirs.manifest.signature.inputs != bundle.manifest.signature.inputs:
        raise Refusal(
            f"{stable.name}", expected=f"the inputs of version {stable.version}, which is stable", got="others",
            hint="Callers send what that one takes: give a model with other inputs a name of its own.",
        )  # fmt: skip
    training, examples = (read_examples(work.of("features") / f"{part}.parquet") for part in ("training", "evaluation"))
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
    lineages, baseline = (bundle.manifest.lineage, theirs.manifest.lineage), theirs.baseline()
    checks = against_stable.judged(report, *lineages, baseline, training, work.parameters.comparison)
    return {
        "with": _named(stable),
        "compared": True,
        **report.as_json(),
        "baseline": baseline is not None,
        "gates": gates.as_json(checks),
        "passed": all(check.passed for check in checks),
    }, checks


def _refusal(stable: Version, known: Version | None, checks: Sequence[Check], report: Path) -> Refusal:
    """Names all that failed: whoever mends one thing wants to know of the others."""
    failed = [check for check, _ in telling(checks, 1) if not check.passed]
    worst = [f"{one.gate} {one.measured:.4g} on {one.on} ({one.sense} {one.bound:g})" for one in failed]
    left = "Nothing is registered" if known is None else f"It was registered before, as version {known.version}"
    return Refusal(
        ", ".join(one.gate for one in failed),
        expected=f"nothing worse than version {stable.version}, which is stable", got="; ".join(worst),
        hint=f"{left}. The whole is {report}; bounds are `comparison` in params.yaml.",
        table=failed_lines(checks),
    )  # fmt: skip


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
        "processor": _processor(),
        "python": platform.python_version(),
        "mlflow": None if run is None else asdict(run),
        "measured": read_json(measured) if measured.exists() else None,
        "parent": None if parent is None else _named(parent),
    }


def _processor() -> Mapping[str, str]:
    """What the last bits of sums depend on: the first place to look where a digest is another one elsewhere."""
    kinds = {found["architecture"] for found in threadpool_info() if "architecture" in found}
    return {"kernels": ", ".join(sorted(kinds)), "vectors": _widest_vectors()}


def _widest_vectors() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return "unknown"
    return next((name for name in ("avx512f", "avx2", "avx") if name in flags), "other")


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
