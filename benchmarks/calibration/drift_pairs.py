"""Rollouts whose canary predicts as its stable does, or does not: whose shift does the comparison say it is?

Used by `drift_promises`. Predictions are scores in tenths and a class of three. Keyed traffic has keys that come again,
each with one score of its own, which is what a model gives the same rows.
Always: looks are cumulative under each weight, as the server's are; -1 stands for "never".
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from server.judgement.drift.canary import EpochPair, PairLimits, Whose, compare
from server.judgement.drift.reference import Reference, reference_of
from server.judgement.evidence import PPM

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLOCKS: Final = 16
SCORES: Final = 10
CLASSES: Final = 3
LOOK_ROWS: Final = 1_000
WEIGHTS_PPM: Final = (50_000, 250_000, 500_000)
_normal = NormalDist()
EDGES: Final = np.array([_normal.inv_cdf(step / SCORES) for step in range(1, SCORES)])
CLASS_EDGES: Final = np.array([-0.5, 1.0])


@dataclass(frozen=True)
class PairWorld:
    """sigmas: by which the canary's scores are off. population: by which both arms' are, from half of the rollout on.

    keys: how many there are, 0 for traffic without. zipf: exponent of their popularity.
    """

    sigmas: float = 0.0
    population: float = 0.0
    keys: int = 0
    zipf: float = 0.0


def reference() -> Reference:
    """Its bins are what is used of it."""
    widths = [SCORES, CLASSES]
    return reference_of(["score", "class"], np.concatenate([[0], np.cumsum(widths)]), np.full(sum(widths), 1_000))


def first_model(world: PairWorld, rng: np.random.Generator, looks: int, limits: PairLimits) -> int:
    """Rows of both arms at the first look that says it is the model's, -1 where none does."""
    bins = reference()
    counts = np.zeros((len(WEIGHTS_PPM), 2, BLOCKS, SCORES + CLASSES), dtype=np.int64)
    popularity = np.arange(1, world.keys + 1) ** -world.zipf
    place, own = rng.random(world.keys), rng.standard_normal(world.keys)
    bucket = rng.integers(0, BLOCKS, world.keys)
    for look in range(looks):
        epoch = look * len(WEIGHTS_PPM) // looks
        if world.keys:
            key = rng.choice(world.keys, LOOK_ROWS, p=popularity / popularity.sum())
            on_canary, score, block = place[key] < WEIGHTS_PPM[epoch] / PPM, own[key], bucket[key]
        else:
            on_canary = rng.random(LOOK_ROWS) < WEIGHTS_PPM[epoch] / PPM
            score, block = rng.standard_normal(LOOK_ROWS), rng.integers(0, BLOCKS, LOOK_ROWS)
        score = score + world.sigmas * on_canary + world.population * (2 * look >= looks)
        arm = np.where(on_canary, 0, 1)
        np.add.at(counts[epoch], (arm, block, np.searchsorted(EDGES, score)), 1)
        np.add.at(counts[epoch], (arm, block, SCORES + np.searchsorted(CLASS_EDGES, score)), 1)
        pairs = [
            EpochPair(weight, *arms) for weight, arms in zip(WEIGHTS_PPM[: epoch + 1], counts[: epoch + 1], strict=True)
        ]
        if compare(bins, pairs, limits).whose is Whose.MODEL:
            return (look + 1) * LOOK_ROWS
    return -1
