"""`python -m pipelines.retraining`: what it wants before it listens, and that it listens."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.control.webhooks.receivers import SECRET
from tests.pipelines.retraining.relay import TOKEN

ROOT = Path(__file__).parents[3]


def command(folder: Path, **changed: str) -> list[str]:
    (folder / "secret").write_text(SECRET)
    (folder / "token").write_text(TOKEN)
    options = {"repository": "team/models", "listen": "127.0.0.1:0", "secret-file": f"{folder}/secret"}
    options |= {"token-file": f"{folder}/token", **{name.replace("_", "-"): value for name, value in changed.items()}}
    return [sys.executable, "-m", "pipelines.retraining", *(f"--{name}={value}" for name, value in options.items())]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"token_file": "/nowhere/token"}, "--token-file: expected a file that can be read"),
        ({"secret_file": "/nowhere/secret"}, "--secret-file: expected a file that can be read"),
        ({"repository": "models"}, "--repository: expected OWNER/NAME, got 'models'"),
        ({"repository": "team/models/../../users"}, "--repository: expected OWNER/NAME"),
        ({"api": "http://api.github.com"}, "--api: expected https:// and a host"),
        ({"listen": "8010"}, "--listen: expected HOST:PORT, got '8010'"),
        ({"listen": "127.0.0.1:70000"}, "--listen: expected HOST:PORT"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "".join(value),
)
def test_what_could_never_work_ends_the_start_in_one_line(tmp_path: Path, changed: dict[str, str], told: str) -> None:
    done = subprocess.run(command(tmp_path, **changed), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"retraining: {told}")


def test_an_option_that_is_no_number_of_seconds_is_a_wrong_command_line(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path, quiet_s="inf"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected seconds from 0, got 'inf'" in done.stderr


def test_it_listens_until_it_is_stopped(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            line = relay.stdout.readline()
            listening = re.fullmatch(r"retraining: listening on (http://127\.0\.0\.1:\d+)/drift\n", line)
            assert listening is not None
            assert httpx.get(f"{listening[1]}/health", trust_env=False, timeout=20).text == "ok\n"
            assert httpx.post(f"{listening[1]}/drift", trust_env=False).status_code == 401
        finally:
            relay.send_signal(signal.SIGTERM)
            code = relay.wait(20)
    assert code in (0, -signal.SIGTERM)
