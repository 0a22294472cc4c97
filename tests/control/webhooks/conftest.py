"""A receiver, and what the room logs."""

import logging
from collections.abc import Iterator

import pytest

from tests.control.webhooks.receivers import HttpReceiver, receiving


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What the room logs."""
    monkeypatch.setattr(logging.getLogger("roost"), "propagate", True)
    caplog.set_level(logging.DEBUG, logger="roost")
    return caplog
