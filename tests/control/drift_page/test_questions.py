"""What the drift page asks for is read whole, or refused by the name of what is wrong."""

from __future__ import annotations

import pytest

from server.control.drift.windows import WindowKind
from server.control.drift_page.questions import OF_FEATURE, OF_HEAT_MAP, WINDOWS_MAX, BadQuestion, read_question

MODELS = ("churn", "fraud")


def test_what_is_left_out_has_a_meaning() -> None:
    question = read_question([("model", "churn")], MODELS, OF_HEAT_MAP)
    assert (question.signal, question.kind, question.windows) == ("inputs", WindowKind.MINUTE, WINDOWS_MAX)
    assert question.window is None


def test_everything_that_may_be_said_is_read() -> None:
    query = [("model", "fraud"), ("signal", "predictions"), ("length", "week"), ("feature", "a b"), ("window", "60")]
    question = read_question(query, MODELS, OF_FEATURE)
    assert (question.model, question.signal, question.kind) == ("fraud", "predictions", WindowKind.WEEK)
    assert (question.feature, question.window) == ("a b", 60)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ([], "model: expected one of churn, fraud, got none."),
        ([("model", "chrun")], "model: expected one of churn, fraud, got 'chrun'."),
        ([("model", "churn"), ("model", "fraud")], "model: expected it once, got it again."),
        ([("model", "churn"), ("signal", "canary")], "signal: expected one of inputs, predictions, got 'canary'."),
        ([("model", "churn"), ("length", "")], "length: expected one of minute, hour, day, week, got ''."),
        ([("model", "churn"), ("windows", "0")], "windows: expected a whole number from 1 to 60, got '0'."),
        ([("model", "churn"), ("windows", "61")], "windows: expected a whole number from 1 to 60, got '61'."),
        ([("model", "churn"), ("windows", "+5")], "windows: expected a whole number from 1 to 60, got '+5'."),
        ([("model", "churn"), ("windows", "1_0")], "windows: expected a whole number from 1 to 60, got '1_0'."),
        ([("model", "churn"), ("windows", "٣")], "windows: expected a whole number from 1 to 60, got '٣'."),
        ([("model", "churn"), ("sort", "up")], "query: expected no parameters but model, signal, length, windows, got"),
    ],
)
def test_what_is_wrong_is_named(query: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(BadQuestion) as refusal:
        read_question(query, MODELS, OF_HEAT_MAP)
    assert str(refusal.value).startswith(said)
    assert str(refusal.value).startswith(f"{refusal.value.parameter}:")


def test_a_number_of_any_length_is_refused_and_not_shown_whole() -> None:
    with pytest.raises(BadQuestion) as refusal:
        read_question([("model", "churn"), ("window", "9" * 5000)], MODELS, OF_FEATURE)
    assert len(str(refusal.value)) < 250


def test_of_many_models_some_are_named_and_the_rest_counted() -> None:
    with pytest.raises(BadQuestion, match=r"m0, .*m9 and 54 more, got none"):
        read_question([], [f"m{number}" for number in range(64)], OF_HEAT_MAP)
