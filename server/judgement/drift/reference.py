"""Reference: the distribution that windows are compared with, and which bins are told apart.

Made from a baseline's arrays by control and by the replay; `season` makes one for an hour of the week.
**Merging.** Levels that the reference had fewer than RARE_BELOW times share one bin of their feature, its last: rare
codes, "other", out of range, missing, non-finite, whatever they are. It holds almost nothing of the reference, so
that a value that the reference never had (the first missing one, a new code) is seen there at once. A level that the
reference did have stays by itself: were missing values added to an "other" of 10 %, a rise from 0 to 2 % would be lost
in it. Bins are merged before anything is computed.
Always: counts are not negative, weights add up to 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from server.judgement.drift.layout import Floats, Integers, Layout

RARE_BELOW: Final = 5
HOURS_OF_WEEK: Final = 168
ROWS_PER_DEGREE: Final = 10.0  # reference rows for each degree of freedom and unit of tau


class TooFewRows(ValueError):
    """The reference's own error is shared by all windows, and no calibration removes it."""


@dataclass(frozen=True, eq=False)
class Reference:
    """One signal's reference: a group of features that is judged together, the inputs or the predictions.

    raw: layout of the counts that windows bring. layout: of merged bins, for all that is computed.
    merged_bin: int64[raw bins], where each raw bin goes. counts: float64[merged bins]; of a rolling reference no whole
    numbers. weights: float64[F], a feature's share of the bet. by_hour: float64[168, merged bins] or None.
    independent_rows: False where its rows may be as alike as the traffic's are; see `effective_counts`.
    """

    names: tuple[str, ...]
    raw: Layout
    layout: Layout
    merged_bin: Integers
    counts: Floats
    weights: Floats
    by_hour: Floats | None = None
    independent_rows: bool = False

    @cached_property
    def rows(self) -> Floats:
        """float64[F]: rows that the reference has of each feature."""
        return np.asarray(self.layout.sum(self.counts))

    @cached_property
    def digest(self) -> bytes:
        """Names the bins, not what is in them: a state fits a reference of the same digest. 32 bytes."""
        known = hashlib.sha256("\n".join(self.names).encode())
        known.update(self.raw.offsets.astype("<i8").tobytes() + self.merged_bin.astype("<i8").tobytes())
        return known.digest()

    @cached_property
    def _order(self) -> tuple[Integers, Integers]:
        return np.argsort(self.merged_bin, kind="stable"), np.searchsorted(
            np.sort(self.merged_bin), np.arange(self.layout.bins)
        )

    def merged(self, counts: npt.NDArray[Any]) -> Floats:
        """Raw counts[..., T] by merged bin, float64[..., merged bins]."""
        if counts.shape[-1:] != (self.raw.bins,):
            raise ValueError(
                f"counts: expected {self.raw.bins} bins, those of the baseline, got an array of shape {counts.shape}. "
                "Read them for the generation that serves this baseline"
            )
        order, starts = self._order
        return np.asarray(np.add.reduceat(counts[..., order], starts, axis=-1), dtype=np.float64)

    def with_counts(self, counts: Floats) -> Reference:
        """The same bins, names and weights with other counts, which are merged already and are of independent rows."""
        return replace(self, counts=counts, independent_rows=True)

    def effective_counts(self, phi: Floats, tau: float) -> Floats:
        """counts as they are worth where the traffic's rows are worth 1/phi: float64[merged bins].

        Training rows mostly come from the same keys, and nobody knows which any more. Down to the rows that a reference
        of `tau` needs, so that what is large enough to matter is always found.
        """
        if self.independent_rows:
            return self.counts
        least = np.maximum(rows_needed(self.layout.widths, tau), 1)
        return np.asarray(self.counts / self.layout.spread(np.clip(phi, 1.0, np.maximum(self.rows / least, 1.0))))

    def check_rows(self, tau: float) -> None:
        """Raises TooFewRows where this reference can't tell a shift of `tau` from its own error."""
        needed = rows_needed(self.layout.widths, tau)
        short = self.rows < needed
        if short.any():
            worst = int(np.argmax(np.where(short, needed - self.rows, -1)))
            raise TooFewRows(
                f"reference of {self.names[worst]}: expected at least {int(needed[worst]):,} rows for its "
                f"{int(self.layout.widths[worst])} bins and tau = {tau:g}, got {self.rows[worst]:,.0f}. "
                "Bundle the model with a larger reference, or raise tau"
            )


def rows_needed(bins: Integers, tau: float) -> Integers:
    """Rows that a reference needs for features of so many bins: 10 (B - 1)/tau, so that its error is a tenth of tau."""
    return np.asarray(np.ceil(ROWS_PER_DEGREE * (bins - 1) / tau), dtype=np.int64)


def reference_of(
    names: Sequence[str],
    offsets: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    importance: Sequence[float | None] | None = None,
    by_hour: npt.NDArray[np.int64] | None = None,
    *,
    independent_rows: bool = False,
) -> Reference:
    """Merges rare levels and shares the bet out.

    names: F of them, each once. offsets: int64[F + 1]. counts: int64[T], what the reference had in each raw bin.
    importance: of each feature, at least 0; where one is unknown, or none leans on anything, all weigh the same.
    by_hour: int64[168, T], Monday 0:00 UTC first. independent_rows: True where no two rows are of one key, so that all
    of them count. Raises ValueError, naming the field.
    """
    raw = Layout(np.asarray(offsets, dtype=np.int64))
    if len(names) != raw.features or len(set(names)) != len(names):
        raise ValueError(f"names: expected {raw.features} of them, each once, got {list(names)[:20]}")
    counts = np.asarray(counts)
    if counts.shape != (raw.bins,) or not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise ValueError(f"counts: expected {raw.bins} numbers of at least 0, got shape {counts.shape}")
    if by_hour is not None and by_hour.shape != (HOURS_OF_WEEK, raw.bins):
        raise ValueError(f"by_hour: expected shape {(HOURS_OF_WEEK, raw.bins)}, got {by_hour.shape}")
    merged_bin, layout = _merging(counts, raw)
    plain = Reference(tuple(names), raw, layout, merged_bin, np.zeros(layout.bins), _weights(importance, raw.features))
    plain = replace(plain, independent_rows=independent_rows)
    hours = None if by_hour is None else plain.merged(by_hour)
    return replace(plain, counts=plain.merged(counts), by_hour=hours)


def _merging(counts: npt.NDArray[Any], raw: Layout) -> tuple[Integers, Layout]:
    """Where each raw bin goes, and the layout of what is left. Common levels keep their order, the rare come last."""
    merged_bin = np.zeros(raw.bins, dtype=np.int64)
    offsets = [0]
    for start, stop in zip(raw.offsets[:-1].tolist(), raw.offsets[1:].tolist(), strict=True):
        rare = counts[start:stop] < RARE_BELOW
        common = int((~rare).sum())
        merged_bin[start:stop] = offsets[-1] + np.where(rare, common, np.cumsum(~rare) - 1)
        offsets.append(offsets[-1] + common + int(rare.any()))
    return merged_bin, Layout(np.array(offsets))


def _weights(importance: Sequence[float | None] | None, features: int) -> Floats:
    equal = np.full(features, 1.0 / features)
    if importance is None:
        return equal
    if len(importance) != features:
        raise ValueError(f"importance: expected {features}, one for each feature, got {len(importance)}")
    known = [value for value in importance if value is not None]
    if any(not (math.isfinite(value) and value >= 0) for value in known):
        raise ValueError(f"importance: expected finite numbers of at least 0, got {list(importance)[:20]}")
    total = math.fsum(known)
    return equal if len(known) < features or total == 0 else np.array(known) / total
