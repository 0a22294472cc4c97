"""How far each of the last windows was from the training reference, for the rows of a heat map. Pure.

Used by `documents`. What is judged is more than this: hours of the week, e-values and how many rows are independent are
of the last window's report alone. Here all windows are measured alike, so that their colours can be compared.
Always: a window without rows has no figure; nothing is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.signals import Signal
from server.control.drift.windows import Window
from server.judgement.drift.layout import Flags, Floats, Integers
from server.judgement.drift.policy import INPUTS
from server.judgement.drift.psi import debiased, psi, shares
from server.judgement.drift.reference import Reference, reference_of


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some features of a signal, in an order of their own. bins: int64[...], their places in the flat counts.

    places: int64[F], each feature's among the signal's. reference: of these alone, merged as the whole signal's is,
    since levels are merged feature by feature.
    """

    places: Integers
    bins: Integers
    reference: Reference


@dataclass(frozen=True, eq=False)
class History:
    """rows: float64[W]. psi, debiased: float64[W, F], 0 where `counted`, bool[W, F], says that there are no rows."""

    rows: Floats
    psi: Floats
    debiased: Floats
    counted: Flags


def first_of(baseline: ArtifactBaseline, signal: str) -> int:
    """Where a signal's features begin among all."""
    return 0 if signal == INPUTS else baseline.inputs


def chosen(baseline: ArtifactBaseline, signal: Signal, places: Sequence[int]) -> Chosen:
    """places: of the features among the signal's, each once, at least one."""
    first = first_of(baseline, signal.name)
    spans = [(int(baseline.offsets[first + at]), int(baseline.offsets[first + at + 1])) for at in places]
    bins = np.concatenate([np.arange(start, stop) for start, stop in spans])
    offsets = np.cumsum([0, *(stop - start for start, stop in spans)])
    names = [baseline.features[first + at].name for at in places]
    reference = reference_of(names, offsets, baseline.reference[bins])
    return Chosen(np.asarray(places, dtype=np.int64), bins, reference)


def history_of(features: Chosen, windows: Sequence[Window], phi: Floats) -> History:
    """phi: float64[F], how many rows are worth one; the same for all windows, since older ones' is not known.

    A window at a time: 60 of them with 12,600 bins take 26 ms, on the loop that also looks for canaries. In one array,
    which no cache holds, they took 54.
    """
    reference, layout = features.reference, features.reference.layout
    q = shares(reference.counts, layout)
    rows = np.empty((len(windows), layout.features))
    value = np.empty_like(rows)
    for at, window in enumerate(windows):
        counts = reference.merged(window.counts[features.bins])
        rows[at] = layout.sum(counts)
        value[at] = psi(shares(counts, layout), q, layout)
    less_bias = debiased(value, layout, np.maximum(rows, 1.0) / phi, np.maximum(reference.rows, 1.0))
    counted = np.asarray(rows > 0)
    return History(rows.max(axis=1), np.where(counted, value, 0.0), np.where(counted, less_bias, 0.0), counted)
