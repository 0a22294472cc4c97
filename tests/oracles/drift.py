"""Drift in plain Python, from docs/concepts/drift.md alone: lists, loops and fsum, one feature at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction


def merged(counts: Sequence[int], reference: Sequence[int]) -> list[int]:
    """Levels that the reference had fewer than five times, added up at the end."""
    kept = [n for n, r in zip(counts, reference, strict=True) if r >= 5]
    rare = [n for n, r in zip(counts, reference, strict=True) if r < 5]
    return [*kept, sum(rare)] if rare else kept


def shares(counts: Sequence[float]) -> list[float]:
    return [(n + 0.5) / (math.fsum(counts) + len(counts) / 2) for n in counts]


def psi(window: Sequence[float], reference: Sequence[float]) -> float:
    return math.fsum((p - q) * math.log(p / q) for p, q in zip(shares(window), shares(reference), strict=True))


def debiased(window: Sequence[float], reference: Sequence[float], phi: float) -> float:
    effective = math.fsum(window) / phi
    return psi(window, reference) - (len(window) - 1) * (1 / effective + 1 / math.fsum(reference))


def standard_error(window: Sequence[float], reference: Sequence[float], phi: float) -> float:
    p, q = shares(window), shares(reference)
    of_window = [math.log(a / b) + 1 - b / a for a, b in zip(p, q, strict=True)]
    of_reference = [math.log(b / a) + 1 - a / b for a, b in zip(p, q, strict=True)]
    return math.sqrt(
        phi * variance(p, of_window) / math.fsum(window) + variance(q, of_reference) / math.fsum(reference)
    )


def variance(share: Sequence[float], values: Sequence[float]) -> float:
    mean = math.fsum(s * v for s, v in zip(share, values, strict=True))
    return math.fsum(s * (v - mean) ** 2 for s, v in zip(share, values, strict=True))


def phi(blocks: Sequence[Sequence[int]]) -> float | None:
    """By leaving each block out: how far the shares change, measured by what independent rows would give."""
    filled = [block for block in blocks if sum(block)]
    totals = [sum(column) for column in zip(*blocks, strict=True)]
    n, bins = sum(totals), sum(total > 0 for total in totals)
    if len(filled) < 2 or bins < 2:
        return None
    total = 0.0
    for block in filled:
        without = [a - b for a, b in zip(totals, block, strict=True)]
        for of_all, left in zip(totals, without, strict=True):
            if of_all:
                total += (left / (n - sum(block)) - of_all / n) ** 2 / (of_all / n)
    g = len(filled)
    return (g - 1) / g * total * n / (bins - 1)


def log_rising(a: float, m: int) -> float:
    """ln of a (a + 1) ... (a + m - 1)."""
    return math.fsum(math.log(a + i) for i in range(m))


def dirichlet_multinomial(counts: Sequence[int], prior: Sequence[Fraction]) -> Fraction:
    """Exactly, without the multinomial coefficient."""
    found = Fraction(1)
    for count, a in zip(counts, prior, strict=True):
        for i in range(count):
            found *= a + i
    total = sum(prior, Fraction(0))
    for i in range(sum(counts)):
        found /= total + i
    return found


def e_value(window: Sequence[int], reference: Sequence[int]) -> Fraction:
    """For whole counts, exactly."""
    half = Fraction(1, 2)
    smoothed = [r + half for r in reference]
    q = [s / sum(smoothed, Fraction(0)) for s in smoothed]
    null = dirichlet_multinomial(window, smoothed)
    near = [dirichlet_multinomial(window, [c * share for share in q]) for c in (30, 100, 300, 1000)]
    return sum(near, Fraction(0)) / 4 / null


def split_e_value(canary: Sequence[int], stable: Sequence[int], share: Fraction) -> float:
    """Beta-binomial shares that differ between bins against the one share that fits best."""
    k, n = sum(canary), sum(canary) + sum(stable)
    best = (k / n) ** k * (1 - k / n) ** (n - k)
    worth = Fraction(0)
    for c in (30, 100, 300, 1000):
        one = Fraction(1)
        for hits, misses in zip(canary, stable, strict=True):
            one *= dirichlet_multinomial((hits, misses), (c * share, c * (1 - share)))
        worth += one / 4
    return float(worth) / best


def e_bh(e: Sequence[float], rate: float) -> list[bool]:
    order = sorted(e, reverse=True)
    enough = [k for k in range(1, len(e) + 1) if order[k - 1] >= len(e) / (rate * k)]
    return [bool(enough) and value >= order[enough[-1] - 1] for value in e]


def detector(e: Sequence[float]) -> list[float]:
    r, found = 0.0, []
    for value in e:
        r = (1 + r) * value
        found.append(r)
    return found
