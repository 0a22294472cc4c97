"""Words of a lineage: what people read in place of what documents hold."""

from __future__ import annotations

import pytest

from registry_client.lineage.document import Attached
from registry_client.lineage.words import brief_rows, entry_number, leaf


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["No errors.", "Not worse."], "No errors. Not worse."),
        (["train.trees.count=60", "train.seed=7"], "train.trees.count=60, train.seed=7"),
        ([], "[]"),
        ([1, 2], "[1, 2]"),
        ("", '""'),
        ("ab" * 32, "abababababab"),
    ],
)
def test_a_value_reads_as_people_write(value: object, text: str) -> None:
    assert leaf(value) == text


def test_texts_from_others_move_no_cursor() -> None:
    assert leaf(["up\x1b[A", "down"]) == "up\\x1b[A, down"


@pytest.mark.parametrize(
    ("entry", "number"), [({"number": 7}, "7"), ({"number": None}, "pending"), ({"kind": "promoted"}, "")]
)
def test_an_entry_is_pending_only_where_a_journal_says_that_it_has_no_number_yet(
    entry: dict[str, object], number: str
) -> None:
    assert entry_number(entry) == number


def test_a_rollout_is_told_without_what_the_lineage_has_said_already() -> None:
    document = {"format": 1, "model": "churn", "digest": "ab" * 32, "result": "promoted", "words": ["Not worse."]}
    assert brief_rows(Attached("rollout-1.json", document)) == [("result", "promoted"), ("words", "Not worse.")]
