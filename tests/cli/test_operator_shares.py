"""Shares as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.cli.operators.shares import BadShare, share_ppm


@pytest.mark.parametrize(
    ("text", "ppm"),
    [
        ("5%", 50_000),
        ("5 %", 50_000),
        (" 5% ", 50_000),
        ("0.05", 50_000),
        (".05", 50_000),
        ("12.5%", 125_000),
        ("0.0001%", 1),
        ("0.000001", 1),
        ("0", 0),
        ("0%", 0),
        ("1%", 10_000),
        ("100%", 1_000_000),
        ("33.3333%", 333_333),
    ],
)
def test_a_share_is_read_as_it_is_meant(text: str, ppm: int) -> None:
    assert share_ppm(text) == ppm


@given(st.integers(0, 1_000_000))
def test_every_share_that_can_be_told_is_read_exactly(ppm: int) -> None:
    assert share_ppm(f"{ppm // 10_000}.{ppm % 10_000:04}%") == ppm
    if ppm < 1_000_000:
        assert share_ppm(f"0.{ppm:06}") == ppm


@pytest.mark.parametrize(
    ("text", "lesson"),
    [
        ("5", "Did you mean 5%?"),
        ("12.50", "Did you mean 12.5%?"),
        ("1", "Write 1% or 100%."),
        ("1.0", "Write 1% or 100%."),
        ("500", "a number with %"),
        ("100.1%", "at most 100%"),
        ("-5%", "like 5% or 0.05"),
        ("nan", "like 5% or 0.05"),
        ("inf", "like 5% or 0.05"),
        ("1e-2", "like 5% or 0.05"),
        ("5%%", "like 5% or 0.05"),
        ("\N{ARABIC-INDIC DIGIT FIVE}%", "like 5% or 0.05"),
        ("0,05", "like 5% or 0.05"),
        ("", "like 5% or 0.05"),
        ("%", "like 5% or 0.05"),
        ("0.00001%", "The finest share is 0.0001%"),
        ("9" * 5000 + "%", "like 5% or 0.05"),
    ],
)
def test_what_is_no_share_is_refused_in_a_line_that_teaches(text: str, lesson: str) -> None:
    with pytest.raises(BadShare) as refusal:
        share_ppm(text)
    assert lesson in str(refusal.value)
    assert len(str(refusal.value)) < 200


@given(st.text(max_size=12))
def test_any_text_is_refused_or_read_within_bounds(text: str) -> None:
    try:
        ppm = share_ppm(text)
    except BadShare:
        return
    assert 0 <= ppm <= 1_000_000
