"""A process that was asked to end does so with its own exit code, however often it is asked."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import asyncio, signal, sys

set_handler = signal.signal

def recorded(number, handler):
    if handler in (signal.SIG_DFL, signal.default_int_handler):
        print(f"{signal.Signals(number).name} kills", flush=True)
    return set_handler(number, handler)

signal.signal = recorded  # before uvloop keeps a copy
import uvloop
from server.stop_signals import StopSignals

async def serve():
    signals = StopSignals()
    print("ready", flush=True)
    await signals.asked.wait()
    signals.ignore()
    print("asked", flush=True)
    await asyncio.sleep(0.05)

with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[1] == "uvloop" else None) as runner:
    runner.run(serve())
sys.exit(3)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_process_that_is_asked_again_and_again_ends_by_itself(loop: str, number: signal.Signals) -> None:
    with subprocess.Popen((sys.executable, "-c", PROGRAM, loop), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        asked = 0
        while process.poll() is None:
            process.send_signal(number)
            asked += 1
            time.sleep(0.0001)
        assert process.stdout.read() == "asked\n", "no moment at which one kills"
    assert process.returncode == 3
    assert asked > 100, "it was asked during its whole end"
