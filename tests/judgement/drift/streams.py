"""Windows and references for the tests of drift: multinomial counts, seeded."""

from __future__ import annotations

import numpy as np

from server.judgement.drift.limits import Limits
from server.judgement.drift.reference import reference_of
from server.judgement.drift.window import Window

BINS = 8
EQUAL = np.full(BINS, 1 / BINS)
TILTED = EQUAL * np.repeat([0.5, 1.5], BINS // 2)
LIMITS = Limits(threshold=1_000.0)


def reference(features=3, rows=20_000, importance=None, by_hour=None, rng=None):
    rng = rng or np.random.default_rng(1)
    counts = rng.multinomial(rows, EQUAL, size=features).ravel()
    names = [f"feature {f}" for f in range(features)]
    return reference_of(names, np.arange(features + 1) * BINS, counts, importance, by_hour)


def window(rng, rows=1_600, shares=EQUAL, features=3, moved=1, blocks=16, cluster=1):
    """Rows in `blocks` by key; the first `moved` features have `shares`, the others are quiet."""
    keys = rng.multinomial(rows // cluster, np.full(blocks, 1 / blocks))
    of = [shares if f < moved else EQUAL for f in range(features)]
    return Window(np.concatenate([cluster * rng.multinomial(keys, p) for p in of], axis=1))
