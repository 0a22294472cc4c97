"""A child of the loader, in which one artifact is tried: what it is told, what it may do, and how it ended.

Used by `python -m server.worker.trial`, which has imported everything and has one thread, so that a child begins at
once. Always: a child whose loader ends is killed by the system, and one that is not waited for any more by its loader.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import traceback
from typing import Final, NoReturn

from pydantic import ValidationError

from server.scheduling import LAST_NICENESS
from server.trials import TrialEnd, TrialSpec, TrialVerdict
from server.worker.trial.endings import end_with
from server.worker.trial.tried import set_limits, tried

# As nice as can be: where cores are short, a trial waits and not the traffic. It has a seventieth of a core even so.
NICENESS: Final = LAST_NICENESS
STANDARD_INPUT, STANDARD_OUTPUT, STANDARD_ERROR = 0, 1, 2
PIECE_BYTES: Final = 1 << 16
REASON_CHARS_MAX: Final = 4096
COMPLAINT_BYTES_MAX: Final = 1 << 14


def try_in_child(line: bytes) -> TrialEnd:
    """line: a TrialSpec. Returns once the child has ended, which is ended with whatever is raised here."""
    verdict_reader, verdict_writer = os.pipe()
    complaint_reader, complaint_writer = os.pipe()
    loader = os.getpid()
    child = os.fork()
    if child == 0:
        _be_child(line, loader, verdict_writer, complaint_writer)
    try:
        os.close(verdict_writer)
        os.close(complaint_writer)
        verdict, complaint = _read_until_it_ends(child, verdict_reader, complaint_reader)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    _, status = os.waitpid(child, 0)
    said: TrialVerdict | None = None
    with contextlib.suppress(ValidationError):  # it gave none, or ended while it did
        said = TrialVerdict.model_validate_json(verdict)
    return TrialEnd(
        code=os.waitstatus_to_exitcode(status),
        verdict=said if status == 0 else None,
        complaint=complaint.decode(errors="replace"),
    )


def _be_child(line: bytes, loader: int, verdict_writer: int, complaint_writer: int) -> NoReturn:
    code = 1
    try:
        end_with(loader)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        os.dup2(os.open(os.devnull, os.O_RDONLY), STANDARD_INPUT)
        os.dup2(complaint_writer, STANDARD_OUTPUT)
        os.dup2(complaint_writer, STANDARD_ERROR)
        spec = TrialSpec.model_validate_json(line)
        set_limits(spec.settings.trial)
        said = tried(spec)
        said = said.model_copy(update={"reason": said.reason[:REASON_CHARS_MAX]})
        with os.fdopen(verdict_writer, "w") as verdict:
            verdict.write(said.model_dump_json())
        code = 0
    except BaseException:  # noqa: BLE001  # whatever it is, the loader is told its last line
        traceback.print_exc()
    finally:
        try:
            sys.stderr.flush()
        finally:
            os._exit(code)


def _read_until_it_ends(child: int, verdict_reader: int, complaint_reader: int) -> tuple[bytes, bytes]:
    """All of the verdict, and the complaint's last bytes. Closes both ends."""
    read = {verdict_reader: b"", complaint_reader: b""}
    ended = os.pidfd_open(child)
    try:
        with selectors.DefaultSelector() as selector:
            for source in (ended, *read):
                os.set_blocking(source, False)
                selector.register(source, selectors.EVENT_READ)
            while ended in selector.get_map():
                ready = [key.fd for key, _ in selector.select()]
                for source in (*read, ended):  # once the child is over, what it wrote is there
                    if source not in ready and ended not in ready:
                        continue
                    if source == ended or not _read_on(source, read):
                        with contextlib.suppress(KeyError):
                            selector.unregister(source)
                read[complaint_reader] = read[complaint_reader][-COMPLAINT_BYTES_MAX:]
    finally:
        for source in (ended, *read):
            os.close(source)
    return read[verdict_reader], read[complaint_reader]


def _read_on(reader: int, read: dict[int, bytes]) -> bool:
    """What is there now: whoever else holds the other end may hold it for ever. False where nobody does."""
    try:
        while piece := os.read(reader, PIECE_BYTES):
            read[reader] += piece
    except BlockingIOError:
        return True
    return False
