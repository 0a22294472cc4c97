"""What the rules of thumb would have said: PSI of a window against the training reference, whatever its rows.

Used by `replaying`, to be shown beside what was decided. They know neither rows nor bins nor seasons, and decide
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.control.drift.signals import Signal
from server.control.drift.windows import Window
from server.judgement.drift.psi import psi, shares


@dataclass(frozen=True)
class LargestPsi:
    """Of all features, the one that differs most by PSI."""

    feature: str
    psi: float


def largest_psi(signal: Signal, window: Window) -> LargestPsi | None:
    """None of a window without rows."""
    reference, layout = signal.reference, signal.reference.layout
    counts = reference.merged(window.counts[signal.bins])
    if not counts.any():
        return None
    found = psi(shares(counts, layout), shares(reference.counts, layout), layout)
    most = int(np.argmax(found))
    return LargestPsi(reference.names[most], float(found[most]))
