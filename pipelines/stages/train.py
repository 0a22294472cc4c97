"""Train: a learner on the training examples, its graph, and the proof that both answer alike.

After features, before evaluate. Writes `model.onnx`, `encoder.json`, the learner itself (`source.txt` or `source.npz`)
and `train.json`; what no rerun could make again goes to MLflow. Always: of the evaluation examples nothing is learnt.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.definition import Classification
from pipelines.examples import Examples, read_examples
from pipelines.features.declaration import FeatureSet
from pipelines.features.matrix import Encoder, Kind, fit_encoder
from pipelines.parameters import Train
from pipelines.refusal import Refusal
from pipelines.training.conversion import to_onnx
from pipelines.training.gaps import with_gaps
from pipelines.training.learner import Learner, Say, Task
from pipelines.training.parity import Parity, check_parity
from pipelines.training.tracking import tracked
from pipelines.work import Work, write_json

ENCODINGS: Final[dict[str, Kind]] = {"trees": "ordinal", "network": "one_hot"}
LIBRARIES: Final = {
    "trees": ("lightgbm", "numpy", "onnx", "onnxmltools", "onnxruntime"),
    "network": ("numpy", "onnx", "onnxruntime", "scikit-learn"),
}
"""What the bytes of a learner's graph, or the proof of it, depend on."""


def run(work: Work) -> str:
    """Train, convert, compare, write. Raises Refusal."""
    examples = work.of("features")
    for later in ("evaluate", "bundle"):  # what was judged and bundled before is not this model
        shutil.rmtree(work.folder / later, ignore_errors=True)
    with work.output("train") as folder, tracked(work, folder) as log:
        training, evaluation = (read_examples(examples / f"{name}.parquet") for name in ("training", "evaluation"))
        check_labels(training, work.definition.task)
        chosen = work.parameters.train
        encoder = encoder_for(work.definition.features, training, chosen)
        learner = fit(training, encoder, work.definition.task, chosen, work.say)
        work.say("converting")
        model_bytes = to_onnx(learner, encoder)
        parity = check_parity(learner, encoder, model_bytes, evaluation, work.say)
        _write(folder, work, learner, encoder, model_bytes, parity)
        log({"training_loss": learner.losses, "parity_error": parity.worst, "model_bytes": float(len(model_bytes))})
    return (
        f"{chosen.learner} on {len(training):,} rows, loss {learner.losses[-1]:.4g}; {len(model_bytes):,} bytes that "
        f"answer alike on {parity.rows:,} rows"
    )


def encoder_for(features: FeatureSet, training: Examples, parameters: Train) -> Encoder:
    """Learnt from the rows as they are: gaps that training adds are no knowledge of the records."""
    gaps = parameters.learner == "network" and parameters.network.gap_share > 0
    return fit_encoder(features, ENCODINGS[parameters.learner], training.inputs(), gaps=gaps)


def fit(training: Examples, encoder: Encoder, task: Task, parameters: Train, say: Say) -> Learner:
    """What the parameters ask for, fitted. Each learner's library is imported where it is wanted alone."""
    if parameters.learner == "trees":
        from pipelines.training.trees import fit_trees

        matrix = encoder.encode(training.inputs())
        return fit_trees(matrix, training.labels, task, parameters.trees, parameters.seed, say)
    from pipelines.training.network import fit_network

    shown = with_gaps(training, parameters.network.gap_share, parameters.seed)
    return fit_network(encoder.encode(shown.inputs()), shown.labels, task, parameters.network, parameters.seed, say)


def check_labels(training: Examples, task: Task) -> None:
    """Raises Refusal where a label is none of the task's, or a class has no example."""
    wanted = np.arange(len(task.labels)) if isinstance(task, Classification) else None
    known = np.isfinite(training.labels) if wanted is None else np.isin(training.labels, wanted)
    if not known.all():
        first = int(np.flatnonzero(~known)[0])
        raise Refusal(
            f"label of training row {first} ({training.keys[first]})",
            expected="a finite number" if wanted is None else f"a class from 0 to {len(wanted) - 1}",
            got=f"{training.labels[first]}", hint="Run the features stage again, or correct the example's split.",
        )  # fmt: skip
    missing = [] if wanted is None else np.setdiff1d(wanted, training.labels).tolist()
    if missing:
        raise Refusal(
            "training", expected="examples of every class", got=f"none of {missing[0]}",
            hint="Take more records (snapshot.rows_max), or correct the example's split.",
        )  # fmt: skip


def _write(
    folder: Path, work: Work, learner: Learner, encoder: Encoder, model_bytes: bytes, parity: Parity
) -> None:
    (folder / "model.onnx").write_bytes(model_bytes)
    (folder / learner.source_name).write_bytes(learner.source())
    write_json(folder / "encoder.json", encoder.as_json())
    chosen = work.parameters.train.learner
    document: dict[str, Any] = {
        "learner": chosen,
        "parameters": work.parameters.as_lineage()["train"],
        "importances": learner.importances(work.definition.features, encoder.owners),
        "parity": {"rows": parity.rows, "bound": parity.bound},
        "libraries": {name: version(name) for name in LIBRARIES[chosen]},
    }
    write_json(folder / "train.json", document)
