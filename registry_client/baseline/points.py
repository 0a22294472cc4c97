"""Choosing a feature's points: edges that share the rows evenly, or the codes of a category.

Used by `builder.py` on what `summary.py` has seen. Pure, and deterministic.
Always: no value lies outside edges[0] to edges[-1]; points increase and are at most POINTS_MAX.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from registry_client.baseline.document import POINTS_MAX, Kind

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVEL_ROWS_MIN: Final = 5
"""A level that fewer rows have is no level of its own: its share is known too badly."""

THINNEST_SHARE: Final = 0.25
"""No bin is meant to hold less than this part of an even share; else what a common value leaves over is cut to dust."""


SLACK_SHARE: Final = 0.01
"""Of the spread of a model's answers: who trains it again moves them by that much, and nothing has happened."""
SPREAD_SHARES: Final = (0.05, 0.25, 0.75, 0.95)
MIDDLE_HALVES: Final = 3
SLACK_STEPS: Final = 8


def choose_points(
    values: Floats, counts: Integers, bins: int, kind: Kind | None, *, is_answer: bool = False
) -> tuple[Kind, tuple[float, ...]]:
    """The kind and the points of a feature whose values[m], rising, came counts[m] times; m is at least 1.

    kind: what is asked for, or None to choose: a category where there are at most 2 `bins` distinct values and one of
    them has LEVEL_ROWS_MIN rows, a number otherwise. A number of one value is a category all the same. Of a category
    that has no level of LEVEL_ROWS_MIN rows the most frequent one is kept. is_answer: a model's, so that edges keep
    away from crowds.
    """
    if kind is None:
        few = values.size <= min(2 * bins, POINTS_MAX)
        kind = Kind.CATEGORY if few and counts.max() >= LEVEL_ROWS_MIN else Kind.NUMBER
    if kind is Kind.NUMBER and values.size > 1:
        edges = even_edges(values, counts, bins)
        return kind, tuple((calm_edges(edges, values, counts) if is_answer else edges).tolist())
    return Kind.CATEGORY, tuple(frequent_levels(values, counts).tolist())


def frequent_levels(values: Floats, counts: Integers) -> Floats:
    """The levels of a category, rising: those with LEVEL_ROWS_MIN rows, of more than POINTS_MAX the most frequent."""
    order = np.argsort(-counts, kind="stable")[:POINTS_MAX]
    enough = max(1, int((counts[order] >= LEVEL_ROWS_MIN).sum()))
    return np.sort(values[order[:enough]])


def even_edges(values: Floats, counts: Integers, bins: int) -> Floats:
    """At most bins + 1 edges, rising, between which the rows are as evenly shared as whole values allow.

    A value that has an even share or more takes a bin of its own, and what lies between such values shares the other
    bins. Plain quantiles would put nine zeros out of ten, and all that is next to them, into one.
    values: float64[m], m >= 2. counts: int64[m].
    """
    ends = _ends(np.cumsum(counts), counts * bins >= counts.sum(), bins)
    edges = [float(values[end]) for end in ends if end < values.size - 1]
    least, greatest = float(values[0]), float(values[-1])
    if edges and edges[0] == least:
        # The first bin is closed on both sides: what holds the least value alone ends before the next one.
        edges[0] = least / 2 + float(values[1]) / 2
        if not least < edges[0] < values[1]:
            edges = edges[1:]
    return np.array([least, *edges, greatest])


def calm_edges(edges: Floats, values: Floats, counts: Integers) -> Floats:
    """The edges, each moved by at most SLACK_SHARE of the values' spread to where the fewest rows are near it.

    A model's answers have crowds: all children are sure not to work, with 0.0001 by one model and with 0.002 by the
    next. An edge beside a crowd would tell these as different as could be. The outermost edges go outwards.
    edges: rising, as from `even_edges`. values: float64[m], rising, m >= 2. counts: int64[m].
    """
    cumulative = np.cumsum(counts)
    low, lower, upper, high = values[np.searchsorted(cumulative, np.array(SPREAD_SHARES) * cumulative[-1])]
    with np.errstate(over="ignore"):
        # The middle half too: a long tail widens the one, and must not blind the bins of all who are not in it.
        slack = SLACK_SHARE * float(min(high - low, MIDDLE_HALVES * (upper - lower)))
    if not 0 < slack < np.inf:
        return edges  # half of the answers are one; or a spread beyond float64
    steps = slack * np.arange(-SLACK_STEPS, SLACK_STEPS + 1) / SLACK_STEPS
    steps = steps[np.argsort(np.abs(steps), kind="stable")]  # the nearest first, among those as calm
    least, greatest = float(edges[0]) - slack, float(edges[-1]) + slack
    if edges[0] >= 0 and edges[-1] <= 1:
        least, greatest = max(0.0, least), min(1.0, greatest)  # shares stay shares
    kept = [least]
    for edge in edges[1:-1]:
        places = edge + steps
        rows = _rows_below(places + slack / 2, values, cumulative) - _rows_below(places - slack / 2, values, cumulative)
        calm = float(places[rows.argmin()])
        if kept[-1] < calm < greatest and kept[-1] + slack <= calm <= greatest - slack:
            kept.append(calm)
    return np.array([*kept, greatest])


def _rows_below(places: Floats, values: Floats, cumulative: Integers) -> Integers:
    """How many rows have a value of at most each place."""
    found = np.searchsorted(values, places, side="right")
    return np.where(found > 0, cumulative[found - 1], 0)


def _ends(cumulative: Integers, is_heavy: npt.NDArray[np.bool_], bins: int) -> list[int]:
    """The places of the last value of each bin, rising, at most `bins` of them."""
    heavy = np.flatnonzero(is_heavy).tolist()
    before = [0, *(int(cumulative[place]) for place in heavy)]
    # Between heavy values: from which count on, and the place of the last value; some hold nothing.
    lasts = [*(place - 1 for place in heavy), cumulative.size - 1]
    masses = [int(cumulative[last]) - start if last >= 0 else 0 for start, last in zip(before, lasts, strict=True)]
    shares = _shares(masses, bins - len(heavy), int(cumulative[-1]) / bins)
    ends = set(heavy)
    for start, last, share in zip(before, lasts, shares, strict=True):
        done = start
        for left in range(share, 0, -1):
            target = done + (int(cumulative[last]) - done) / left
            end = int(np.searchsorted(cumulative, target))
            nearer = end - 1
            if nearer >= 0 and cumulative[nearer] > done and target - cumulative[nearer] < cumulative[end] - target:
                end = nearer
            if int(cumulative[end]) > done:
                ends.add(end)
            done = int(cumulative[end])
    return sorted(ends)


def _shares(masses: list[int], bins: int, even: float) -> list[int]:
    """How many bins each part gets: one where it holds anything, then each further one where it thins least.

    The largest come first where there are fewer bins than parts; what gets none lies in its neighbour's bin.
    """
    shares = [0] * len(masses)
    for _ in range(bins):
        thinned = [mass / (share + 1) for mass, share in zip(masses, shares, strict=True)]
        part = max(range(len(masses)), key=lambda index: (shares[index] == 0 and masses[index] > 0, thinned[index]))
        if masses[part] == 0 or (shares[part] > 0 and thinned[part] < THINNEST_SHARE * even):
            break
        shares[part] += 1
    return shares
