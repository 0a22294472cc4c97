"""The journal's mark: what is written into the registry is read back, and nothing else is taken for one."""

import pytest

from server.control.journal_mark import JournalMark, read_mark
from server.lifecycle.journal import Head


def test_a_mark_is_read_back_with_or_without_the_first_line() -> None:
    for mark in (JournalMark(Head(214, "a" * 64), "b" * 12), JournalMark(Head(1, "a" * 64))):
        assert read_mark(str(mark)) == mark


@pytest.mark.parametrize(
    "text",
    ["", "12", "x:" + "a" * 64, "0:" + "a" * 64, "3:" + "a" * 63, "3:" + "A" * 64, "3:" + "a" * 64 + ":b", "9" * 40],
)
def test_any_other_text_is_no_mark(text: str) -> None:
    assert read_mark(text) is None
