"""`roost.key_position` is the published rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import roost
from tests.oracles import split as oracle

ROOT = Path(__file__).resolve().parents[2]


@given(st.binary(max_size=60), st.integers(-(2**63), 2**64 - 1))
def test_a_key_stands_where_the_rule_says(key: bytes, salt: int) -> None:
    assert roost.key_position(key, salt) == oracle.position(key, salt)


@given(st.text(max_size=20), st.integers(-(2**63), 2**63 - 1))
def test_text_is_its_utf_8(key: str, salt: int) -> None:
    assert roost.key_position(key, salt) == roost.key_position(key.encode(), salt)


def test_the_protocols_examples_come_out() -> None:
    page = (ROOT / "docs/reference/protocol.md").read_text()
    examples = re.findall(r"^\| `([^`]*)` \| `(-?\d+)` \| (\d+) \|$", page, re.M)
    assert len(examples) >= 4
    for key, salt, position in examples:
        assert roost.key_position(key, int(salt)) == int(position), key


def test_the_readmes_figures_come_out(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (ROOT / "clients/python/README.md").read_text()
    block = readme.split("## Who meets a canary")[1].split("```python\n")[1].split("```")[0]
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.split() == re.findall(r"# (\d+|True|False)", block)


@pytest.mark.parametrize("salt", [-(2**63) - 1, 2**64])
def test_a_salt_that_is_no_word_is_refused(salt: int) -> None:
    with pytest.raises(ValueError, match="salt: expected a 64-bit word"):
        roost.key_position("x", salt)
