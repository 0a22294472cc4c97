"""Versions with a lineage as our pipeline writes it, in a folder registry, and a journal of when they served."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from registry_client.bundle import write_bundle
from registry_client.cache import BundleCache
from registry_client.folder import FolderRegistry
from registry_client.golden import make_golden
from registry_client.lineage.document import Journal, VersionLineage
from registry_client.lineage.gathering import of_version
from registry_client.manifest import Lineage, Manifest
from registry_client.onnx_model import read_onnx

MODEL = "churn"


def digest(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()


@functools.cache
def scaled(factor: float) -> bytes:
    """y = factor * x, float32 [rows, 3]."""
    constant = helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 3]) for name in ("x", "y")]
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = helper.make_graph([node], "g", tensors[:1], tensors[1:], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString(deterministic=True))


def data(loads: Mapping[str, Any] | None = None, version: int = 4) -> dict[str, Any]:
    """Of one table with four loads, of which `loads` replaces some."""
    own: dict[str, Any] = {str(year): {"rows": 68_000 + year, "digest": digest(year)} for year in range(2015, 2019)}
    own |= loads or {}
    return {
        "tables": {
            "churn": {
                "version": version,
                "digest": digest(own),
                "rows": sum(load["rows"] for load in own.values()),
                "loads": own,
            }
        },
        "source": {"package": "nannyml", "version": "0.13.1", "sha256": digest("wheel")},
        "training": {
            "rows": 68_785, "digest": digest("training", own), "from_utc": "2015-01-01", "to_utc": "2015-12-31",
        },
        "evaluation": {"rows": 208_892, "digest": digest("evaluation", own)},
    }  # fmt: skip


def code(changed: Mapping[str, str] | None = None, libraries: Mapping[str, str] | None = None) -> dict[str, Any]:
    paths = ("pipelines/definition.py", "pipelines/features/graph.py", "pipelines/training/trees.py")
    files = {path: digest(path) for path in paths} | dict(changed or {})
    known = {"lightgbm": "4.7.0", "numpy": "2.3.5", "onnxruntime": "1.23.2"} | dict(libraries or {})
    return {"sha256": digest(files), "files": files, "libraries": known, "python": "3.11"}


def parameters(count: int = 100) -> dict[str, Any]:
    train = {"learner": "trees", "seed": 2015, "trees": {"count": count, "leaves": 31}}
    return {"train": train, "bundle": {"tau": 0.1}}


def evaluation(auc: float = 0.905) -> dict[str, Any]:
    def gate(name: str, measured: float, sense: str, bound: float, on: str) -> dict[str, Any]:
        by = measured - bound if sense == "at least" else bound - measured
        return {
            "name": name, "parameter": f"gates.{name}", "measured": measured, "bound": bound, "sense": sense,
            "passed": by >= 0, "by": by, "rows": 4096, "on": on, "checks": 12,
        }  # fmt: skip

    return {
        "gates": [
            gate("auc_min", auc, "at least", 0.8, "all"),
            gate("slice_drop_max", 0.09, "at most", 0.15, "age=under 25"),
            gate("population_psi_max", 0.013, "at most", 0.25, "AGEP, 2017 to 2018"),
        ]
    }


def bundled(
    folder: Path,
    *,
    factor: float = 2.0,
    lineage: Lineage | None = None,
    report: Mapping[str, Any] | bytes | None = None,
    meaning: Mapping[str, Any] | None = None,
    card: bytes = b"# Churn\n",
) -> Manifest:
    """A bundle in `folder`. report: bytes are written as they are."""
    model = scaled(factor)
    rows = np.ones((2, 3), np.float32)
    golden = make_golden(read_onnx(model).signature, [({"x": rows}, {"y": rows * np.float32(factor)})])
    told = report if isinstance(report, bytes) else json.dumps(evaluation() if report is None else report).encode()
    return write_bundle(
        folder,
        name=MODEL,
        model_bytes=model,
        golden=golden,
        lineage=lineage or Lineage(data(), code(), parameters()),
        meaning=meaning,
        extra_files={"evaluation.json": told, "card.md": card},
    )


def provenance(parent: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "git": {"commit": "4f2c1d9a8b7e6f5d4c3b2a190817263544f3e2d1", "dirty": False},
        "made_at_utc": "2026-01-30T09:12:44+00:00",
        "host": "trainer-3",
        "machine": "x86_64",
        "python": "3.11.13",
        "mlflow": {"run_id": "0f3c", "tracking": "http://ada:secret@mlflow:5000"},
        "measured": {
            "gates": [
                {"name": "latency_us_max", "measured": 41.5, "bound": 1000.0, "sense": "at most", "passed": True,
                 "on": "all", "rows": 2000}
            ]
        },
        "parent": parent,
        **changes,
    }  # fmt: skip


def attach(registry: FolderRegistry, version: int, name: str, document: object) -> None:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    registry.attach(MODEL, version, name, content)


def registry_of_three(folder: Path) -> FolderRegistry:
    """1 was stable when 2 was registered, and 2 when 3 was; @stable is 2, @canary 3. 2 was promoted, see `journal`."""
    registry = FolderRegistry(folder / "registry")
    lineages = [
        Lineage(data(), code(), parameters()),
        Lineage(data(), code(), parameters(150)),
        Lineage(data({"2018": {"rows": 70_130, "digest": digest("fixed")}}, version=5), code(), parameters(150)),
    ]
    digests = []
    for index, lineage in enumerate(lineages):
        place = folder / f"bundle-{index + 1}"
        made = bundled(place, factor=2.0 + index, lineage=lineage, report=evaluation(0.905 + index / 1000))
        registry.push(place, digest=made.digest)
        digests.append(made.digest)
        parent = None if index == 0 else {"version": index, "digest": digests[index - 1]}
        attach(registry, index + 1, "provenance.json", provenance(parent))
    attach(registry, 2, "comparison.json", {
        "stable": {"version": 1, "digest": digests[0]}, "compared": True, "passed": True, "words": "not worse",
        "difference": 0.0011, "slices": [{"value": "under 25", "difference": -0.002}],
    })  # fmt: skip
    attach(registry, 2, "rollout-20260131T150000Z.json", {"result": "promoted", "reason": "It is not worse."})
    attach(registry, 2, "signature-00ff00ff00ff00ff.json", {"mediaType": "application/json"})
    attach(registry, 2, "notes.txt", b"\x00\xff no JSON")
    registry.set_alias(MODEL, "stable", 2)
    registry.set_alias(MODEL, "canary", 3)
    return registry


def place(stable: Any = None, canary: Any = None, weight_ppm: int = 0, **more: Any) -> dict[str, Any]:
    """An entry's `from` or `to`. stable, canary: (version, digest), or None."""

    def artifact(named: Any) -> dict[str, str] | None:
        return None if named is None else {"version": str(named[0]), "digest": named[1]}

    return {"stable": artifact(stable), "canary": artifact(canary), "weight_ppm": weight_ppm, "shadow": None,
            "coming": None, "last_safe": None, "quarantine": [], **more}  # fmt: skip


def journal(registry: FolderRegistry) -> list[dict[str, Any]]:
    """1 served from the start; 2 came as a canary, at 5 % and 25 %, and ada promoted it; 3 came and went home."""
    one, two, three = ((version.version, version.digest) for version in registry.versions(MODEL))
    story = [
        ("12:00", "started", {}, place(), place(one)),
        ("14:00", "canary_started", {"operator": "ada", "reason": "retrained"}, place(one), place(one, two, 50_000)),
        ("14:30", "advanced", {}, place(one, two, 50_000), place(one, two, 250_000)),
        ("15:00", "promoted", {"operator": "ada", "reason": "an hour at 25 %"}, place(one, two, 250_000), place(two)),
        ("16:00", "canary_started", {"operator": "ada", "reason": "more data"}, place(two), place(two, three, 50_000)),
        ("16:05", "went_home", {}, place(two, three, 50_000), place(two, quarantine=[three[1]])),
    ]
    entries = []
    for number, (time, kind, who, before, after) in enumerate(story, 1):
        at_utc = f"2026-01-31T{time}:00.000Z"
        told = f"{at_utc}: {kind.replace('_', ' ')}."
        entries.append({"number": number, "model": MODEL, "revision": number, "kind": kind, "at_utc": at_utc, **who,
                        "from": before, "to": after, "evidence": {}, "told": told})  # fmt: skip
    return entries


def gathered(registry: FolderRegistry, version: int, folder: Path, entries: Any = None) -> VersionLineage:
    cache = BundleCache(folder / "cache")
    found = registry.resolve(MODEL, version)
    asked = None if entries is None else Journal(tuple(entries), "a test's journal")
    return of_version(registry, found, registry.fetch(found, cache), cache, asked)
