"""The journal's file: one writer, torn tails cut off, everything else left as it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.control.journal_file import JournalFile, JournalHeld
from server.lifecycle.journal import BrokenJournal, verify

ENTRY = {"model": "m", "revision": 1, "kind": "frozen"}


def test_entries_are_chained_over_restarts(tmp_path: Path) -> None:
    for number in range(1, 4):
        journal = JournalFile(tmp_path / "state")
        assert journal.append({**ENTRY, "revision": number}).number == number
        journal.close()
    assert [line.entry["revision"] for line in JournalFile(tmp_path / "state").lines()] == [1, 2, 3]
    assert verify(journal.path.read_bytes()) == journal.head


def test_a_line_that_a_crash_cut_off_is_dropped_and_the_next_one_follows(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path)
    for _ in range(2):
        journal.append(ENTRY)
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-20])
    assert len(journal.lines()) == 1
    again = JournalFile(tmp_path)
    assert again.append(ENTRY).number == 2
    assert verify(journal.path.read_bytes()).number == 2


def test_a_file_that_was_changed_is_not_appended_to(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path)
    for _ in range(3):
        journal.append(ENTRY)
    journal.close()
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(lines[0] + lines[2])
    before = journal.path.read_bytes()
    with pytest.raises(BrokenJournal):
        JournalFile(tmp_path).append(ENTRY)
    assert journal.path.read_bytes() == before


def test_a_second_server_is_kept_out_until_the_first_one_is_gone(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from server.control.journal_file import JournalFile\n"
    code += (
        "kept = JournalFile(Path(sys.argv[1])); kept.append({'model': 'm'}); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        journal = JournalFile(tmp_path)
        with pytest.raises(JournalHeld, match="Give each server its own"):
            journal.append(ENTRY)
    finally:
        holder.kill()
        holder.wait()
    assert journal.append(ENTRY).number == 2


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = JournalFile(tmp_path)
    journal.append(ENTRY)
    whole = journal.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.append(ENTRY)
    assert journal.path.read_bytes() == whole
    assert journal.append(ENTRY).number == 2
