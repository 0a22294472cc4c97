"""Worlds of drift: streams of windows of a known truth, each with a reference of its own.

Used by `drift_streams` and `drift_peers`. Three features of four are numbers, standard normal, binned at the
reference's tenths; the fourth is a category of eight levels. Edges are drawn, not the reference's rows: the shares
between sample quantiles are Dirichlet, so that a stream's reference is off by what a real one of so many rows is.
Always: the same seed gives the same stream; the reference is drawn anew for each, or all windows of all streams would
share one error and the simulation would lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from server.judgement.drift import season as seasons
from server.judgement.drift.reference import Reference, reference_of
from server.judgement.drift.season import Season
from server.judgement.drift.window import Window

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BLOCKS: Final = 16
REFERENCE_ROWS: Final = 100_000
TENTHS: Final = 10
NUMBER_BINS: Final = TENTHS + 4  # below, ten inner ones, above, missing, non-finite
LEVELS: Final = 8
CATEGORY_BINS: Final = LEVELS + 3
WINDOW_S: Final = 60.0
WINDOWS_AN_HOUR: Final = 60
HOURS: Final = 24
SEASON_SIGMAS: Final = 0.5
WEEKS_LEARNT: Final = 4

_cdf = np.vectorize(NormalDist().cdf, otypes=[np.float64])
_inverse = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])


@dataclass(frozen=True)
class Shift:
    """What moves, in the first `features` that can: numbers by `sigmas`, a new level or missing values by a share."""

    features: int = 1
    sigmas: float = 0.0
    new_level: float = 0.0
    missing: float = 0.0


NONE: Final = Shift(features=0)


@dataclass(frozen=True)
class DriftWorld:
    """rows: of a window. cluster: rows of one key, all alike, in the reference too. seasonal: numbers follow the hour.

    by_hour: False for what the server does not do with minutes: the training reference judges them all day.
    """

    features: int
    rows: int
    cluster: int = 1
    seasonal: bool = False
    by_hour: bool = True
    categories: bool = True
    reference_rows: int = REFERENCE_ROWS

    @property
    def numbers(self) -> int:
        return self.features - self.features // 4 if self.categories else self.features


@lru_cache(maxsize=2)
def _seasonal_grid() -> tuple[Floats, Floats]:
    """The distribution over a whole day: places, and the share of rows below each."""
    places = np.linspace(-6.0, 6.0, 2401)
    return places, np.mean([_cdf(places - mean_at(hour)) for hour in range(HOURS)], axis=0)


def mean_at(hour: int) -> float:
    return SEASON_SIGMAS * float(np.cos(2 * np.pi * hour / HOURS))


class Stream:
    """One stream: what was drawn for it, and its windows one after the other."""

    def __init__(self, world: DriftWorld, rng: np.random.Generator) -> None:
        self.world = world
        self._rng = rng
        self._known: dict[tuple[int, Shift], tuple[Floats, Floats]] = {}
        keys = world.reference_rows // world.cluster
        spacings = rng.dirichlet([1.0, *[keys / TENTHS] * TENTHS, 1.0], size=world.numbers)
        below = spacings.cumsum(axis=1)[:, :-1]
        if world.seasonal:
            places, shares = _seasonal_grid()
            self.edges = np.interp(below, shares, places)
        else:
            self.edges = _inverse(np.clip(below, 1e-12, 1 - 1e-12))
        self._levels = 1.0 / np.arange(1, LEVELS + 1)
        self._levels /= self._levels.sum()
        self.reference = self._drawn_reference(keys)

    def _drawn_reference(self, keys: int) -> Reference:
        world = self.world
        number = np.zeros(NUMBER_BINS, dtype=np.int64)
        number[1 : TENTHS + 1] = world.reference_rows // TENTHS
        categories = world.features - world.numbers
        levels = world.cluster * self._rng.multinomial(keys, self._levels, size=categories)
        category = np.concatenate([levels, np.zeros((categories, 3), dtype=np.int64)], axis=1)
        counts = np.concatenate([np.tile(number, world.numbers), category.ravel()])
        widths = [NUMBER_BINS] * world.numbers + [CATEGORY_BINS] * categories
        names = [f"number {n}" for n in range(world.numbers)] + [f"category {n}" for n in range(categories)]
        return reference_of(names, np.concatenate([[0], np.cumsum(widths)]), counts)

    def season(self) -> Season:
        """What WEEKS_LEARNT weeks of such minutes have taught of the hours that the stream will see."""
        season = seasons.beginning(self.reference)
        hours = list(season.hours)
        keys = WEEKS_LEARNT * WINDOWS_AN_HOUR * self.world.rows // self.world.cluster
        for hour in range(HOURS):
            numbers, levels = self._shares(hour, NONE)
            drawn = [self._rng.multinomial(keys, numbers), self._rng.multinomial(keys, levels)]
            hours[hour] = self.reference.merged(np.concatenate([part.ravel() for part in drawn]))
        return Season(tuple(hours))

    def window(self, index: int, shift: Shift = NONE) -> Window:
        """The window of minute `index`, counted from a Monday's 0:00."""
        hour = index // WINDOWS_AN_HOUR % HOURS if self.world.seasonal else 0
        numbers, levels = self._shares(hour, shift)
        world = self.world
        keys = self._rng.multinomial(world.rows // world.cluster, np.full(BLOCKS, 1 / BLOCKS))
        drawn = [self._rng.multinomial(keys[:, None], shares) for shares in (numbers, levels)]
        return Window(world.cluster * np.concatenate([part.reshape(BLOCKS, -1) for part in drawn], axis=1))

    def values(self, sigmas: Floats, missing: Floats) -> Floats:
        """float64[rows, F]: a window's, where all features are numbers. sigmas, missing: float64[F], see `Shift`."""
        shape = (self.world.rows, self.world.features)
        found = self._rng.standard_normal(shape) + sigmas
        found[self._rng.random(shape) < missing] = np.nan
        return found

    def counted(self, values: Floats) -> Window:
        """The window of such values, each row in a block by itself."""
        blocks = self._rng.integers(0, BLOCKS, values.shape[0])
        width = NUMBER_BINS
        counts = np.zeros((BLOCKS, self.world.features, width), dtype=np.int64)
        for feature, edges in enumerate(self.edges):
            bins = np.searchsorted(edges, values[:, feature], side="left")
            bins[np.isnan(values[:, feature])] = width - 2
            counts[:, feature] = np.bincount(blocks * width + bins, minlength=BLOCKS * width).reshape(BLOCKS, width)
        return Window(counts.reshape(BLOCKS, -1))

    def _shares(self, hour: int, shift: Shift) -> tuple[Floats, Floats]:
        """float64[numbers, bins] and float64[categories, bins]: where a row falls."""
        if (hour, shift) not in self._known:
            world, moved = self.world, np.arange(self.world.numbers) < shift.features
            mean = mean_at(hour) if world.seasonal else 0.0
            below = _cdf(self.edges - mean - (shift.sigmas * moved)[:, None])
            numbers = np.zeros((world.numbers, NUMBER_BINS))
            numbers[:, : TENTHS + 2] = np.diff(below, axis=1, prepend=0.0, append=1.0)
            missing = (shift.missing * moved)[:, None]
            numbers *= 1.0 - missing
            numbers[:, -2] += missing[:, 0]
            categories = world.features - world.numbers
            levels = np.zeros((categories, CATEGORY_BINS))
            new = np.where(np.arange(categories) < shift.features, shift.new_level, 0.0)
            levels[:, :LEVELS] = self._levels * (1.0 - new[:, None])
            levels[:, LEVELS] = new
            self._known[hour, shift] = numbers, levels
        return self._known[hour, shift]
