"""A state folder is one server's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.cli.configuration import ConfigurationError
from server.cli.state_lock import hold_state

ROOT = Path(__file__).resolve().parents[2]


def test_a_second_server_on_a_state_folder_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from server.cli.state_lock import hold_state;"
        f"hold_state(Path({str(tmp_path)!r})); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        owner = rf"which another server has \(process {first.pid}\)\. Use that one, or give each its own with --state"
        with pytest.raises(ConfigurationError, match=owner):
            hold_state(tmp_path)
        assert int((tmp_path / "lock").read_text()) == first.pid
        first.kill()
    hold_state(tmp_path)
    assert int((tmp_path / "lock").read_text()) == os.getpid()


def test_a_state_folder_that_can_not_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"lifecycle.state: expected a folder to write in, got '.*file/state'"):
        hold_state(tmp_path / "file" / "state")
