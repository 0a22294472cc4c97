"""What the drift page asks for: the query of a request, checked whole before anything is looked up. Pure.

Used by `routes`. Always: whatever is wrong is told once, by a BadQuestion that names the parameter, what was expected
and what came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from server.control.drift.windows import WindowKind
from server.control.operations.refusal import shown
from server.judgement.drift.policy import INPUTS, PREDICTIONS

SIGNALS: Final = (INPUTS, PREDICTIONS)
WINDOWS_MAX: Final = 60  # columns of a heat map
WINDOW_DIGITS_MAX: Final = 12
NAMES_TOLD: Final = 10

MODEL, SIGNAL, LENGTH, WINDOWS, FEATURE, WINDOW = "model", "signal", "length", "windows", "feature", "window"
OF_NEWS: Final = (MODEL,)
OF_HEAT_MAP: Final = (MODEL, SIGNAL, LENGTH, WINDOWS)
OF_FEATURE: Final = (MODEL, SIGNAL, LENGTH, FEATURE, WINDOW)


class BadQuestion(ValueError):
    """One sentence for people."""

    def __init__(self, parameter: str, *, expected: str, got: str) -> None:
        super().__init__(f"{parameter}: expected {expected}, got {got}.")
        self.parameter = parameter


@dataclass(frozen=True)
class Question:
    """windows: how many at most, 1 to WINDOWS_MAX. feature: its name, "" where none is asked for.

    window: when its unit begins, in seconds of UTC; None for the last one.
    """

    model: str
    signal: str = INPUTS
    kind: WindowKind = WindowKind.MINUTE
    windows: int = WINDOWS_MAX
    feature: str = ""
    window: int | None = None


def read_question(query: Iterable[tuple[str, str]], models: Collection[str], allowed: Collection[str]) -> Question:
    """query: names and values in their order. allowed: names that this address knows. Raises BadQuestion."""
    given: dict[str, str] = {}
    for name, value in query:
        if name not in allowed:
            raise BadQuestion("query", expected=f"no parameters but {', '.join(allowed)}", got=shown(name))
        if name in given:
            raise BadQuestion(name, expected="it once", got="it again")
        given[name] = value
    return Question(
        model=_model(given.get(MODEL), models),
        signal=_word(SIGNAL, given.get(SIGNAL, INPUTS), SIGNALS),
        kind=_kind(given.get(LENGTH, WindowKind.MINUTE.word)),
        windows=_number(WINDOWS, given.get(WINDOWS, str(WINDOWS_MAX)), 1, WINDOWS_MAX),
        feature=given.get(FEATURE, ""),
        window=None if WINDOW not in given else _number(WINDOW, given[WINDOW], 0, 10**WINDOW_DIGITS_MAX - 1),
    )


def _model(name: str | None, models: Collection[str]) -> str:
    if name is None or name not in models:
        raise BadQuestion(MODEL, expected=one_of(models), got="none" if name is None else shown(name))
    return name


def _kind(word: str) -> WindowKind:
    by_word = {kind.word: kind for kind in WindowKind}
    return by_word[_word(LENGTH, word, tuple(by_word))]


def _word(parameter: str, word: str, words: Collection[str]) -> str:
    if word not in words:
        raise BadQuestion(parameter, expected=one_of(words), got=shown(word))
    return word


def _number(parameter: str, text: str, least: int, most: int) -> int:
    # `int` takes blanks, signs, underscores and digits of other scripts, too.
    if not (text.isascii() and text.isdecimal() and len(text) <= WINDOW_DIGITS_MAX and least <= int(text) <= most):
        raise BadQuestion(parameter, expected=f"a whole number from {least} to {most}", got=shown(text))
    return int(text)


def one_of(names: Collection[str]) -> str:
    """For a sentence: the first of them, and how many more there are."""
    first = [name for name, _ in zip(names, range(NAMES_TOLD), strict=False)]
    more = len(names) - len(first)
    return f"one of {', '.join(first) or 'none: no model is served'}{f' and {more:,} more' if more else ''}"
