"""Train: gradient-boosted trees on the records of 2015. After `features.py`, before `convert.py`.

Always: the same examples and parameters give the same trees (one seed, one thread, LightGBM's deterministic mode).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lightgbm import LGBMClassifier

from pipelines.employment.features import Examples


@dataclass(frozen=True)
class Parameters:
    """What the trees depend on besides the examples: part of the bundle's lineage."""

    trees: int = 100
    leaves: int = 31
    learning_rate: float = 0.1
    leaf_examples_min: int = 20
    seed: int = 2015

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def train(examples: Examples, parameters: Parameters) -> LGBMClassifier:
    """A fitted classifier of two classes, 0 and 1."""
    # One thread: with several, sums are added in another order and trees differ in the last digits.
    classifier = LGBMClassifier(
        n_estimators=parameters.trees,
        num_leaves=parameters.leaves,
        learning_rate=parameters.learning_rate,
        min_child_samples=parameters.leaf_examples_min,
        random_state=parameters.seed,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        verbose=-1,
    )
    return classifier.fit(examples.matrix, examples.labels)
