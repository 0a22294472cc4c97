"""Dispersion: how much less rows say than their number, because they are not independent.

Rows of one key resemble each other, and so do those of one burst. phi is the design effect of Rao & Scott (*The
Analysis of Categorical Data from Complex Sample Surveys*, JASA 1981), from a window's split into blocks: how far blocks
differ, measured by what independent rows would give. M rows are worth M/phi. Used by `judge` and `canary`. Pure.
Always: a phi that is used is at least 1; where nothing can be said it is NaN, never 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from server.judgement.drift.layout import Floats, Layout

SMOOTHED_WINDOWS: Final = 32
OUTLIER_SIGMAS: Final = 4.0


@dataclass(frozen=True, eq=False)
class Estimate:
    """One window's phi, float64[F], not yet held to 1, and its degrees of freedom; NaN and 0 where there is none."""

    phi: Floats
    degrees: Floats


def estimate(blocks: Floats, layout: Layout) -> Estimate:
    """phi from blocks, float64[G, T]: X2/((G - 1)(B - 1)) of the table of blocks by bins, empty ones left out.

    That is for blocks of equal size. One block with most of the rows, a key's, makes the shares that all are compared
    with and so hides itself: X2 can't say that 16 blocks are worth fewer than 15 rows. So each block's part counts as
    much as the shares would change without it, n n_g/(n - n_g)^2 (G - 1)^2/G of it: the variance by leaving one block
    out at a time (delete-one jackknife; Rust & Rao, *Variance estimation for complex surveys using replication
    techniques*, 1996). NaN for a feature with rows in fewer than two blocks, or two bins: blocks can't differ there.
    """
    by_block = layout.sum(blocks)
    totals = blocks.sum(axis=0)
    rows = layout.sum(totals)
    share = totals / np.maximum(layout.spread(rows), 1.0)
    expected = layout.spread(by_block) * share
    squares = np.divide((blocks - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0.0)
    filled = np.maximum((by_block > 0).sum(axis=0), 1)
    degrees = np.maximum((filled - 1.0) * (layout.sum((totals > 0).astype(np.float64)) - 1.0), 0.0)
    weight = (filled - 1.0) ** 2 / filled * rows * by_block / np.maximum(rows - by_block, 1.0) ** 2
    phi = (weight * layout.sum(squares)).sum(axis=0) / np.maximum(degrees, 1.0)
    return Estimate(np.where(degrees > 0, phi, np.nan), degrees)


def larger(one: Estimate, other: Estimate) -> Estimate:
    """Of two splits of the same rows, by key and by time, the one that counts: the larger, feature by feature."""
    first = np.isnan(other.phi) | (one.phi >= other.phi)
    return Estimate(np.where(first, one.phi, other.phi), np.where(first, one.degrees, other.degrees))


@dataclass(frozen=True, eq=False)
class Smoothed:
    """phi over quiet windows: the mean of the first SMOOTHED_WINDOWS, from then on forgetting as slowly.

    mean, windows: float64[F]; windows that had something to say of a feature.
    """

    mean: Floats
    windows: Floats

    def learnt(self, own: Estimate) -> Smoothed:
        known = own.degrees > 0
        windows = self.windows + known
        step = known / np.clip(windows, 1.0, SMOOTHED_WINDOWS)
        return Smoothed(self.mean + step * (np.where(known, own.phi, 0.0) - self.mean), windows)

    def used(self, own: Estimate) -> Floats:
        """phi to judge a window by: what is usual, or the window's own where it is plainly burstier than that.

        float64[F], at least 1. Where neither is known 1, which is right only for features that can't differ between
        blocks since all rows share a bin.
        """
        usual = np.where(self.windows > 0, self.mean, np.where(own.degrees > 0, own.phi, 1.0))
        usual = np.maximum(usual, 1.0)
        limit = usual * (1.0 + OUTLIER_SIGMAS * np.sqrt(2.0 / np.maximum(own.degrees, 1.0)))
        return np.asarray(np.where((own.degrees > 0) & (own.phi > limit), own.phi, usual))


def nothing_learnt(features: int) -> Smoothed:
    return Smoothed(np.ones(features), np.zeros(features))
