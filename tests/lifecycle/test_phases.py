"""The table of phases says what happens, all of it and nothing else; the picture says what the table says."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from server.lifecycle import events
from server.lifecycle.diagram import diagram
from server.lifecycle.phases import TRANSITIONS, Phase, phase_of
from server.lifecycle.refusal import Refused
from server.lifecycle.state import ModelState
from server.lifecycle.step import HANDLERS, step
from tests.lifecycle.histories import ARTIFACTS, SECOND_NS, first_state, random_event

FEW = ARTIFACTS[:3]
PICTURE = Path(__file__).parents[2] / "docs" / "lifecycle.svg"


@pytest.fixture(scope="module")
def happened() -> tuple[set[tuple[Phase, Phase]], set[tuple[Phase, type[events.Event]]]]:
    """Pairs of phases, and phases with what happened to an artifact in them, of many short lives with few artifacts."""
    pairs, met = set(), set()
    for seed in range(1000):
        random, model, now_ns = Random(seed), first_state(), 0
        for _ in range(60):
            now_ns += SECOND_NS
            event = _likely_event(random, model, now_ns)
            met |= {(phase_of(model, artifact.digest), type(event)) for artifact in FEW}
            try:
                after, _ = step(model, event)
            except Refused:
                continue
            pairs |= {(phase_of(model, artifact.digest), phase_of(after, artifact.digest)) for artifact in FEW}
            model = after
    return {pair for pair in pairs if pair[0] is not pair[1]}, met


def _likely_event(random: Random, model: ModelState, now_ns: int) -> events.Event:
    """What is being loaded is loaded soon, so that lives get somewhere."""
    loading = sorted(model.needed.keys() - model.ready)
    if loading and random.random() < 0.4:
        return events.Loaded(now_ns=now_ns, at_utc="2026-01-01T00:00:00Z", digest=random.choice(loading))
    return random_event(random, now_ns, FEW)


def test_the_table_is_what_happens_and_nothing_else(happened: tuple[set[tuple[Phase, Phase]], object]) -> None:
    assert happened[0] == set(TRANSITIONS)


def test_every_phase_meets_every_event(happened: tuple[object, set[tuple[Phase, type[events.Event]]]]) -> None:
    assert happened[1] == set(product(Phase, HANDLERS))


def test_every_pair_of_the_table_says_why() -> None:
    assert all(TRANSITIONS.values())


def test_the_picture_is_drawn_from_the_table() -> None:
    assert PICTURE.read_text(encoding="utf-8") == diagram(), "python -m server.lifecycle.diagram > docs/lifecycle.svg"


def test_the_picture_shows_every_phase_and_every_pair() -> None:
    texts = {text.text for text in ElementTree.fromstring(diagram()).iter("{http://www.w3.org/2000/svg}text")}
    assert {phase.value for phase in Phase} <= texts
    shown = " ".join(text or "" for text in texts)
    for (source, target), why in TRANSITIONS.items():
        who = "any" if target is Phase.QUARANTINED else source
        assert f"{who} → {target}: {why}" in shown
