"""Shares of the traffic as people write them: 5% or 0.05. Used by the commands that take weights. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

PPM: Final = 1_000_000
WRITTEN: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?|\.[0-9]{1,12}) ?(%?)", re.ASCII)


class BadShare(ValueError):
    """One line: what was expected, what came, what to write."""


def share_ppm(text: str) -> int:
    """Millionths. Raises BadShare.

    A number without % is a share of one, as in a plan. Of 1 alone nobody can say which of the two it is.
    """
    found = WRITTEN.fullmatch(text.strip())
    if found is None:
        raise BadShare(f"expected a share like 5% or 0.05, got {text!r:.40}. Write 5% for one request of twenty.")
    number, percent = Decimal(found[1]), bool(found[2])
    if not percent and number >= 1:
        percents = f"{number.normalize():f}%"
        hint = "Write 1% or 100%." if number == 1 else f"Did you mean {percents}?" if number <= 100 else "Write 5%."
        raise BadShare(f"expected a share below 1, or a number with %, got {text!r:.40}. {hint}")
    ppm = number * (PPM // 100 if percent else PPM)
    if ppm > PPM:
        raise BadShare(f"expected at most 100%, got {text!r:.40}. The stable version has what is left.")
    if ppm != int(ppm):
        raise BadShare(f"expected whole millionths, got {text!r:.40}. The finest share is 0.0001%.")
    return int(ppm)
