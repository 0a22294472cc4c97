"""Figures of older windows are what their counts say, by the definition written out in plain Python."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from registry_client.baseline.document import Feature
from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.signals import signals_of
from server.control.drift.windows import MINUTE_NS, Counts, Window, WindowKind, sealed
from server.control.drift_page.history import chosen, history_of
from server.judgement.drift.reference import RARE_BELOW
from tests.control.drift_page.watched import baseline_of


def artifact() -> ArtifactBaseline:
    baseline = baseline_of(rows=4000)
    features = baseline.inputs + baseline.predictions
    offsets = np.cumsum([0, *(len(feature.counts) for feature in features)])
    reference = np.concatenate([np.array(feature.counts) for feature in features])
    return ArtifactBaseline("d" * 64, baseline, features, sealed(offsets), sealed(reference))


def windows_of(known: ArtifactBaseline, rows: list[int]) -> list[Window]:
    random = np.random.default_rng(3)
    found = []
    for number, count in enumerate(rows):
        parts = [random.multinomial(count, np.full(len(one.counts), 1 / len(one.counts))) for one in known.features]
        counts: Counts = sealed(np.concatenate(parts)[np.newaxis])
        found.append(Window(number * MINUTE_NS, (number + 1) * MINUTE_NS, counts, counts, WindowKind.MINUTE))
    return found


def slowly(feature: Feature, live: list[int], phi: float) -> tuple[float, float]:
    """PSI and debiased PSI, with what the reference hardly has in one bin."""
    pairs = list(zip(feature.counts, live, strict=True))
    common = [pair for pair in pairs if pair[0] >= RARE_BELOW]
    rare = [pair for pair in pairs if pair[0] < RARE_BELOW]
    merged = [*common, tuple(map(sum, zip(*rare, strict=True)))] if rare else common
    n, m, bins = sum(r for r, _ in merged), sum(w for _, w in merged), len(merged)
    shares = [((w + 0.5) / (m + bins / 2), (r + 0.5) / (n + bins / 2)) for r, w in merged]
    psi = sum((p - q) * math.log(p / q) for p, q in shares)
    return psi, psi - (bins - 1) * (phi / m + 1 / n)


@pytest.mark.parametrize("name", ["inputs", "predictions"])
def test_psi_and_debiased_psi_of_every_window_are_by_their_definition(name: str) -> None:
    known = artifact()
    signal = next(one for one in signals_of(known) if one.name == name)
    places = list(range(len(signal.reference.names)))[::-2]  # some of them, in another order
    phi = np.linspace(1.0, 3.0, len(places))
    windows = windows_of(known, [10, 500, 40_000])
    history = history_of(chosen(known, signal, places), windows, phi)
    first = 0 if name == "inputs" else known.inputs
    assert history.rows.tolist() == [10, 500, 40_000]
    for column, place in enumerate(places):
        feature = known.features[first + place]
        for row, window in enumerate(windows):
            live = known.of_feature(window.counts, first + place).tolist()
            expected = slowly(feature, live, float(phi[column]))
            assert (history.psi[row, column], history.debiased[row, column]) == pytest.approx(expected)


def test_a_window_without_rows_has_no_figure_and_nothing_is_nan() -> None:
    known = artifact()
    signal = signals_of(known)[0]
    features = chosen(known, signal, [2, 0])
    history = history_of(features, windows_of(known, [0, 7]), np.ones(2))
    assert history.counted.tolist() == [[False, False], [True, True]]
    assert history.psi[0].tolist() == history.debiased[0].tolist() == [0.0, 0.0]
    assert np.isfinite(history.psi).all()
    assert np.isfinite(history.debiased).all()


def test_the_features_chosen_are_merged_as_the_whole_signal_is() -> None:
    known = artifact()
    poor = tuple(replace(one, counts=tuple(count // 300 for count in one.counts)) for one in known.features)
    counts = sealed(np.concatenate([np.array(one.counts) for one in poor]))
    known = replace(known, features=poor, reference=counts)
    signal = signals_of(known)[0]
    whole = signal.reference
    part = chosen(known, signal, [4, 1]).reference
    for place, of_whole in enumerate([4, 1]):
        ours = part.counts[part.layout.offsets[place] : part.layout.offsets[place + 1]]
        theirs = whole.counts[whole.layout.offsets[of_whole] : whole.layout.offsets[of_whole + 1]]
        assert ours.tolist() == theirs.tolist()
