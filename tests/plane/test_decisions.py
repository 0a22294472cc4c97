"""The ring of decisions: what a control process that comes after a crash finds."""

import pytest

from native.plane.decisions import TEXT_BYTES_MAX, DecisionRing
from native.plane.layout import Plane
from native.plane.routing import DECISION_SEQUENCE, DECISION_TEXT, DECISION_WORDS, DECISIONS, DECISIONS_COUNT


def test_another_process_finds_the_newest_decisions_in_their_order() -> None:
    plane = Plane.create(1)
    ring = DecisionRing(plane)
    for number in range(1, 2 * DECISIONS_COUNT + 6):
        assert ring.append(f"decision {number} für alle") == number
    kept = DecisionRing(plane).read()
    assert [number for number, _ in kept] == list(range(DECISIONS_COUNT + 6, 2 * DECISIONS_COUNT + 6))
    assert kept[-1][1] == f"decision {2 * DECISIONS_COUNT + 5} für alle"


def test_a_decision_that_was_cut_off_is_none() -> None:
    plane = Plane.create(1)
    ring = DecisionRing(plane)
    ring.append("first")
    ring.append("second")
    at = DECISIONS + 2 * DECISION_WORDS
    plane.routing[at + DECISION_SEQUENCE] = 0
    assert ring.read() == ((1, "first"),)
    plane.routing[at + DECISION_SEQUENCE] = 2
    plane.routing[at + DECISION_TEXT] += 1
    assert ring.read() == ((1, "first"),), "the checksum does not fit"
    assert DecisionRing(plane).append("third") == 2, "whoever comes after a crash looks for itself"


@pytest.mark.parametrize("text", ["", "x" * (TEXT_BYTES_MAX + 1)])
def test_a_text_that_does_not_fit_is_our_own_mistake(text: str) -> None:
    with pytest.raises(AssertionError):
        DecisionRing(Plane.create(1)).append(text)


def test_the_longest_text_comes_back_whole() -> None:
    ring = DecisionRing(Plane.create(1))
    ring.append("y" * TEXT_BYTES_MAX)
    assert ring.read() == ((1, "y" * TEXT_BYTES_MAX),)
