"""Lineage and meaning: where the model comes from and what its columns and codes mean, for the manifest.

Used by the bundle stage. Always: data are named by digests of rows, code by digests of files, libraries by version;
nothing tells which run, commit or machine it was, which hangs beside the version as `provenance.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipelines.artifact.environment import environment_lineage
from pipelines.code_digest import code_digest
from pipelines.definition import Classification, Definition
from pipelines.examples import Examples, Split
from pipelines.parameters import Parameters
from pipelines.refusal import Refusal
from registry_client.manifest import Lineage


def artifact_lineage(
    definition: Definition,
    parameters: Parameters,
    *,
    snapshot: Mapping[str, Any],
    features: Mapping[str, Any],
    split: Split,
    drill: str | None = None,
) -> Lineage:
    """snapshot, features: the documents of those stages. drill: how the graph was spoilt on purpose, if it was.

    Raises Refusal where the examples are not those that the features stage tells of.
    """
    return Lineage(
        data={
            "tables": snapshot["tables"],
            "source": snapshot["source"],
            "training": _rows("training", split.training, features),
            "evaluation": _rows("evaluation", split.evaluation, features),
        },
        code={**code_digest(definition), **environment_lineage()},
        parameters={**parameters.as_lineage(), **({} if drill is None else {"drill": drill})},
    )


def artifact_meaning(definition: Definition, parity: Mapping[str, Any]) -> dict[str, Any]:
    """For whoever reads the manifest: columns in the order of the inputs, their codes, labels, slices, the promise.

    parity: on how many rows the graph answers as the learner that it was made from, and within which bound.
    """
    features, task = definition.features, definition.task
    columns = features.as_json()
    answer: dict[str, Any] = (
        {"labels": {str(place): text for place, text in enumerate(task.labels)}, "positive": task.positive}
        if isinstance(task, Classification)
        else {"unit": task.unit}
    )
    return {
        **definition.meaning(),
        "title": definition.title,
        "source": definition.prose.source,
        "features": columns[: len(features.numbers)],
        "texts": columns[len(features.numbers) :],
        "label": definition.label,
        **answer,
        "slices": dict(definition.slices),
        "parity": dict(parity),
    }


def _rows(part: str, examples: Examples, features: Mapping[str, Any]) -> dict[str, Any]:
    stated: Mapping[str, Any] = features[part]
    digest = examples.digest()
    if (stated["rows"], stated["digest"]) != (len(examples), digest):
        raise Refusal(
            f"features/{part}.parquet", expected=f"{stated['rows']} rows of digest {stated['digest'][:12]}",
            got=f"{len(examples)} of {digest[:12]}", hint="Run the features stage again.",
        )  # fmt: skip
    return {
        "rows": len(examples), "digest": digest,
        "from_utc": _utc(int(examples.at_s.min())), "to_utc": _utc(int(examples.at_s.max())),
    }  # fmt: skip


def _utc(at_s: int) -> str:
    """The day, and the time where there is one."""
    at = datetime.fromtimestamp(at_s, UTC)
    return at.date().isoformat() if at_s % 86_400 == 0 else at.strftime("%Y-%m-%dT%H:%MZ")
