"""Targets as people write them: a model, and which of its versions."""

from __future__ import annotations

import pytest

from registry_client.errors import BadDocument
from registry_client.registry import parse_target


@pytest.mark.parametrize(
    ("text", "expected"),
    [("churn", ("churn", None)), ("churn@stable", ("churn", "@stable")), ("churn:12", ("churn", 12))],
)
def test_a_target_is_read_as_people_write_it(text, expected):
    assert parse_target(text) == expected


@pytest.mark.parametrize("text", ["", "@stable", "churn@", "churn:", "churn:0", "churn:v1", "churn:1@a", "../x", "a b"])
def test_a_target_that_is_none_is_refused(text):
    with pytest.raises(BadDocument):
        parse_target(text)
