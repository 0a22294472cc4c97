"""What tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.scripted_admin import ScriptedAdmin, scripted_admin


@pytest.fixture
def admin() -> Iterator[ScriptedAdmin]:
    with scripted_admin() as server:
        yield server
