"""Adopting: a version that somebody else logged in MLflow becomes a bundle, and so a version that Roost serves.

Used by `roost adopt`. Always: the version that was adopted stays as it is; the bundle is verified, with golden examples
that came out twice alike, before the registry hears of it; the same version adopted again is the version it was.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from registry_client.bundle import write_bundle
from registry_client.errors import BadDocument, RegistryRefused
from registry_client.foreign_model import ForeignModel, read_foreign
from registry_client.golden import Golden, check_golden
from registry_client.manifest import Lineage, Tolerance, is_model_name
from registry_client.onnx_model import OnnxModel, read_onnx
from registry_client.opening import open_registry
from registry_client.reference_run import ReferenceRun, complete_golden, record_golden
from registry_client.registry import Version, check_alias
from registry_client.tracking_uri import is_tracking_uri
from registry_client.verify import check_contents, read_verified

ADOPTED_TAG: Final = "roost.adopted_from"
_SOURCE: Final = re.compile(r"models:/([^/@:]+)/([1-9][0-9]{0,8})")


def parse_source(text: str) -> tuple[str, int]:
    """Name and version of `models:/NAME/VERSION`. Raises BadDocument."""
    found = _SOURCE.fullmatch(text)
    if found is None:
        raise BadDocument(
            "source", expected="models:/NAME/VERSION", got=repr(text[:120]),
            hint="An alias or a stage may mean another version tomorrow: give the number, like models:/churn/3.",
        )  # fmt: skip
    return found[1], int(found[2])


def adopt(
    location: str, source: str, *, name: str | None = None, golden: Golden | None = None, aliases: Sequence[str] = ()
) -> tuple[Version, tuple[str, ...]]:
    """The new version of `name`, or of the model that it was, and one sentence for each thing that was changed.

    golden: the caller's examples; without them, seeded random inputs. Raises ArtifactError.
    """
    logged_as, number = parse_source(source)
    name = logged_as if name is None else name
    if not is_model_name(name):
        raise BadDocument(
            "name", expected="1 to 100 letters, digits, '.', '_' or '-', the first a letter or digit",
            got=repr(name[:120]), hint="Adopt it under another: --as NAME.",
        )  # fmt: skip
    for alias in aliases:
        check_alias(alias)
    if not is_tracking_uri(location):
        raise RegistryRefused(
            "--registry", expected="an MLflow tracking URI, like sqlite:///mlflow.db", got=repr(location[:120]),
            hint="A folder registry holds nothing to adopt: it takes bundles only.",
        )  # fmt: skip
    registry = open_registry(location, must_exist=True)
    from registry_client.mlflow_registry import MlflowRegistry  # not above: only a tracking URI asks for MLflow

    assert isinstance(registry, MlflowRegistry), "a tracking URI opens one"
    foreign = read_foreign(lambda file, bytes_max: registry.read_foreign_file(logged_as, number, file, bytes_max))
    model = read_onnx(foreign.model_bytes)
    examples = _examples(model, golden)
    with tempfile.TemporaryDirectory(prefix="roost-adopt-") as scratch:
        folder = Path(scratch) / "bundle"
        manifest = write_bundle(
            folder, name=name, model_bytes=foreign.model_bytes, golden=examples,
            lineage=_lineage(foreign, logged_as, number),
        )  # fmt: skip
        bundle = read_verified(folder, manifest.digest)
        check_contents(bundle, ReferenceRun(bundle.model_bytes, manifest.signature))
        version = registry.push(folder, aliases=aliases, digest=manifest.digest)
    return registry.set_tag(name, version.version, ADOPTED_TAG, source), model.notes


def _examples(model: OnnxModel, golden: Golden | None) -> Golden:
    if golden is None:
        return record_golden(model)
    examples = complete_golden(model, golden)
    usual = Tolerance()
    check_golden(examples, ReferenceRun(model.model_bytes, model.signature), usual.rtol, usual.atol)
    return examples


def _lineage(foreign: ForeignModel, name: str, number: int) -> Lineage:
    return Lineage(
        data={"mlflow_model": name, "mlflow_version": number, "sha256": dict(foreign.sha256)},
        code={"mlflow": foreign.mlflow_version, "onnx": foreign.onnx_version},
    )
