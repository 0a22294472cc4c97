"""The stages in their order. Used by the command (`__main__.py`) and by tests.

Always: a stage's report is made after it has ended; a stage that fails ends the pipeline with its own one-line error.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.employment import convert, drill
from pipelines.employment.baseline import TAU, TAU_QUICK, baseline, importances
from pipelines.employment.bundle import bundle, golden_examples, lineage
from pipelines.employment.evaluate import evaluate
from pipelines.employment.features import COLUMN_NAMES, examples
from pipelines.employment.register import register
from pipelines.employment.snapshot import fetch_wheel, read_snapshot
from pipelines.employment.train import Parameters, train

STAGES = ("snapshot", "features", "train", "convert", "evaluate", "baseline", "bundle", "register")

Say = Callable[[str], None]
Begin = Callable[[str], AbstractContextManager[Say]]
"""Opens a stage by name and gives the function that takes its one-line result."""


@dataclass(frozen=True)
class Plan:
    """What to run. data: where the wheel is kept. rows_max: so many of each year. through: the last stage.

    bundle_folder: where the bundle is left; None for nowhere but the registry. candidate: registered without moving the
    alias that servers follow. drill: spoilt on purpose, see `drill.py`.
    """

    registry: str
    data: Path
    rows_max: int | None = None
    through: str = STAGES[-1]
    bundle_folder: Path | None = None
    parameters: Parameters = field(default_factory=Parameters)
    candidate: bool = False
    drill: bool = False


def run(plan: Plan, begin: Begin) -> None:
    """Runs the stages up to `plan.through`."""
    last = STAGES.index(plan.through)
    with begin("snapshot") as say:
        snapshot = read_snapshot(fetch_wheel(plan.data), plan.rows_max)
        say(f"{len(snapshot.reference):,} records of 2015, {len(snapshot.evaluation):,} of the years after")
    if last < STAGES.index("features"):
        return
    with begin("features") as say:
        reference, evaluation = examples(snapshot.reference), examples(snapshot.evaluation)
        say(f"{len(COLUMN_NAMES)} columns of numbers, rows {reference.digest()[:12]}")
    if last < STAGES.index("train"):
        return
    with begin("train") as say:
        classifier = train(reference, plan.parameters)
        say(f"{plan.parameters.trees} trees of {plan.parameters.leaves} leaves")
    if last < STAGES.index("convert"):
        return
    with begin("convert") as say:
        model_bytes = convert.to_onnx(classifier)
        model = convert.session(model_bytes)
        parity = convert.check_parity(classifier, model, evaluation)
        say(f"{len(model_bytes):,} bytes of ONNX, off by {parity.probability_error_max:.1e} over {parity.rows:,} rows")
    if last < STAGES.index("evaluate"):
        return
    with begin("evaluate") as say:
        scores = evaluate(model, evaluation)
        say("; ".join(f"{score.year}: accuracy {score.accuracy:.3f}, AUC {score.auc:.3f}" for score in scores))
    if last < STAGES.index("baseline"):
        return
    with begin("baseline") as say:
        tau = TAU if plan.rows_max is None else TAU_QUICK
        learnt_from = baseline(model_bytes, model, reference, importances(classifier), tau)
        say(f"{learnt_from.rows:,} rows, {len(learnt_from.inputs)} inputs, {len(learnt_from.predictions)} predictions")
    if last < STAGES.index("bundle"):
        return
    with tempfile.TemporaryDirectory(prefix="roost-") as scratch:
        made = Path(scratch) / "bundle"
        with begin("bundle") as say:
            examined = evaluation
            if plan.drill:
                model_bytes, examined = drill.spoilt(model_bytes), drill.younger(evaluation)
                model = convert.session(model_bytes)
            golden = golden_examples(model_bytes, model, examined)
            of = lineage(snapshot.source, reference, evaluation, plan.parameters)
            if plan.drill:
                of = replace(of, parameters={**of.parameters, "drill": drill.MEANING})
            # A spoilt model keeps the baseline of the sound one, or its NaN would be what it is known for.
            manifest = bundle(
                made,
                model_bytes=model_bytes,
                golden=golden,
                learnt_from=learnt_from,
                of=of,
                scores=scores,
                parity=parity,
            )
            if plan.bundle_folder is not None:
                shutil.copytree(made, plan.bundle_folder)
            say(f"digest {manifest.digest[:12]}")
        if last < STAGES.index("register"):
            return
        with begin("register") as say:
            version = register(made, plan.registry, digest=manifest.digest, candidate=plan.candidate)
            say(f"{version.name} version {version.version}, {'a candidate' if plan.candidate else 'now @stable'}")
