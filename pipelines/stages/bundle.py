"""Bundle: all that is known of the model in one folder under one digest. After `evaluate.py`, before `register.py`.

model.onnx, golden.json and baseline.json, which a server uses; evaluation.json, explanations.json, the card and its
pictures, which people read; environment.lock, which installs what made it; and the manifest of them all.
Always: nothing in it tells when, where or by whom it was made, so that the same work has the same digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pipelines.artifact.attribution import Explained, explain_graph, explain_trees, importance_shares
from pipelines.artifact.baseline import training_baseline
from pipelines.artifact.card import card_html, card_markdown
from pipelines.artifact.environment import locked_environment
from pipelines.artifact.explanations import explanations_document
from pipelines.artifact.golden import golden_examples
from pipelines.artifact.lineage import artifact_lineage, artifact_meaning
from pipelines.artifact.pictures import pictures
from pipelines.artifact.places import EVALUATION_FILE, EXPLANATIONS_FILE, MANIFEST_FILE
from pipelines.definition import Classification, Definition
from pipelines.examples import Split, read_examples
from pipelines.features.matrix import Encoder
from pipelines.refusal import Refusal
from pipelines.work import Work, read_json
from registry_client import canonical_json
from registry_client.baseline.document import Baseline
from registry_client.bundle import write_bundle
from registry_client.errors import ArtifactError
from registry_client.golden import Golden
from registry_client.manifest import MODEL_FILE, Lineage, Manifest, sha256_hex
from registry_client.onnx_model import OnnxModel, read_onnx
from registry_client.reference_run import ReferenceRun

CARD_FILES: Final = ("card.md", "card.html")
ENVIRONMENT_FILE: Final = "environment.lock"


@dataclass(frozen=True)
class Parts:
    """What earlier stages left. graph: as trained, sound; ask: it, as it is served. learnt: train.json."""

    split: Split
    graph: OnnxModel
    ask: ReferenceRun
    learnt: Mapping[str, Any]
    features: Mapping[str, Any]
    snapshot: Mapping[str, Any]
    report: Mapping[str, Any]


def run(work: Work) -> str:
    """Writes `bundle/`. Raises Refusal where what earlier stages left is missing or does not fit together."""
    environment = locked_environment()  # first: half a minute of work would tell of other libraries
    drill = _drill(work.definition) if work.drill else None
    try:
        parts = _parts(work)
        _check_of_one_model(work, parts, _bytes(work.of("train") / MODEL_FILE, "train"))
        explained = _explained(work, parts)
        lineage = artifact_lineage(
            work.definition, work.parameters, snapshot=parts.snapshot, features=parts.features, split=parts.split,
            drill=None if drill is None else str(drill.MEANING),
        )  # fmt: skip
        meaning = artifact_meaning(work.definition, parts.learnt["parity"])
        work.say("counting training's rows for the baseline")
        baseline = _baseline(work, parts, explained)
        graph, golden = _served(parts, drill)
        work.say("drawing and writing the card")
        extra = _for_people(work.definition, parts, explained, lineage, meaning) | {ENVIRONMENT_FILE: environment}
        manifest = _written(work, graph, golden, baseline, lineage, meaning, extra)
    except ArtifactError as error:
        raise Refusal(error.field, expected=error.expected, got=error.got, hint=error.hint) from error
    spoilt = "" if drill is None else ", spoilt on purpose"
    rows = f"{len(explained.rows)} answers explained"
    return f"digest {manifest.digest[:12]}, {len(manifest.files)} files, {rows}{spoilt}"


def _parts(work: Work) -> Parts:
    features, train = work.of("features"), work.of("train")
    split = Split(*(read_examples(features / f"{part}.parquet") for part in ("training", "evaluation")))
    graph = read_onnx(_bytes(train / MODEL_FILE, "train"))
    return Parts(
        split=split,
        graph=graph,
        ask=ReferenceRun(graph.model_bytes, graph.signature),
        learnt=read_json(train / "train.json"),
        features=read_json(features / "features.json"),
        snapshot=read_json(work.of("snapshot") / "snapshot.json"),
        report=read_json(work.of("evaluate") / "report.json"),
    )


def _check_of_one_model(work: Work, parts: Parts, model_bytes: bytes) -> None:
    """The report judged this graph, and the graph was made with these parameters. Raises Refusal.

    Stages can be run alone: a model that was trained again must not be bundled with what was said of the last one.
    """
    if parts.report["model"].get("sha256") != sha256_hex(model_bytes):
        raise Refusal(
            "evaluate/report.json", expected="the evaluation of train/model.onnx", got="that of another model",
            hint=f"Run the evaluate stage again: python -m pipelines.stages evaluate {work.definition.name}.",
        )  # fmt: skip
    if parts.learnt.get("parameters") != work.parameters.as_lineage()["train"]:
        raise Refusal(
            "train/train.json", expected="a model trained with the parameters of now", got="one of others",
            hint=f"Run the train stage again: python -m pipelines.stages train {work.definition.name}.",
        )  # fmt: skip


def _explained(work: Work, parts: Parts) -> Explained:
    """By the learner itself where that is trees, by asking the graph otherwise."""
    train, rows = work.of("train"), work.parameters.bundle.explained_rows
    if parts.learnt["learner"] != "trees":
        return explain_graph(work.definition, parts.ask, parts.split, rows, work.parameters.train.seed, work.say)
    work.say("explaining answers")
    source = _bytes(train / "source.txt", "train").decode("utf-8")
    encoder = Encoder.from_json(work.definition.features, read_json(train / "encoder.json"))
    return explain_trees(work.definition, source, encoder, parts.ask, parts.split.evaluation, rows)


def _baseline(work: Work, parts: Parts, explained: Explained) -> Baseline:
    """Of the sound graph, also where a spoilt one is bundled, or its NaN would be what it is known for."""
    importances = parts.learnt["importances"] or importance_shares(work.definition, explained)
    return training_baseline(
        work.definition, parts.graph.signature, parts.ask, parts.split.training, importances, work.parameters.bundle.tau
    )


def _served(parts: Parts, drill: ModuleType | None) -> tuple[OnnxModel, Golden]:
    """The graph to bundle and its golden examples: those that a drill leaves alone, so that only traffic finds it."""
    if drill is None:
        return parts.graph, golden_examples(parts.graph.signature, parts.ask, parts.split.evaluation)
    graph = read_onnx(drill.spoilt(parts.graph.model_bytes))
    ask = ReferenceRun(graph.model_bytes, graph.signature)
    return graph, golden_examples(graph.signature, ask, drill.spared(parts.split.evaluation))


def _for_people(
    definition: Definition, parts: Parts, explained: Explained, lineage: Lineage, meaning: Mapping[str, Any]
) -> dict[str, bytes]:
    """Report, explanations, card and pictures, by file name."""
    documents: dict[str, Any] = {
        EVALUATION_FILE: parts.report,
        EXPLANATIONS_FILE: explanations_document(definition, explained, parts.split.evaluation),
    }
    files = {name: canonical_json.encode(document) + b"\n" for name, document in documents.items()}
    documents[MANIFEST_FILE] = {"lineage": vars(lineage), "meaning": meaning}
    drawn = pictures(parts.report, documents[EXPLANATIONS_FILE])
    cards = card_markdown(definition, documents), card_html(definition, documents, drawn)
    return files | drawn | dict(zip(CARD_FILES, cards, strict=True))


def _written(
    work: Work,
    graph: OnnxModel,
    golden: Golden,
    baseline: Baseline,
    lineage: Lineage,
    meaning: Mapping[str, Any],
    extra: Mapping[str, bytes],
) -> Manifest:
    task = work.definition.task
    with work.output("bundle") as folder:
        return write_bundle(
            folder,
            name=work.definition.name,
            model_bytes=graph.model_bytes,
            golden=golden,
            lineage=lineage,
            meaning=meaning,
            class_labels=tuple(range(len(task.labels))) if isinstance(task, Classification) else None,
            baseline=baseline,
            extra_files=extra,
        )


def _drill(definition: Definition) -> ModuleType:
    """`spoilt(model_bytes) -> bytes`, `spared(examples)`: those left alone, and MEANING. Raises Refusal."""
    name = f"pipelines.{definition.name}.drill"
    if find_spec(name) is None:
        raise Refusal(
            "--drill", expected="an example that can be spoilt on purpose", got=definition.name,
            hint="Leave it out, or write the example a drill.py like pipelines/employment/drill.py.",
        )  # fmt: skip
    return import_module(name)


def _bytes(path: Path, stage: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refusal(
            str(path), expected=f"what the {stage} stage wrote", got=error.strerror or type(error).__name__,
            hint=f"Run the {stage} stage again.",
        ) from error  # fmt: skip
