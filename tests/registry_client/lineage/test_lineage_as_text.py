"""A lineage as text: within 80 columns, every part there or said to be missing, and nothing that moves a cursor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry_client.folder import FolderRegistry
from registry_client.lineage.as_text import ENTRIES_MAX, ROWS_MAX, WIDTH, difference_lines, lineage_lines
from registry_client.lineage.gathering import between, of_bundle
from registry_client.manifest import Lineage
from registry_client.verify import read_verified
from tests.registry_client.lineage.made_versions import (
    MODEL,
    bundled,
    data,
    gathered,
    journal,
    place,
    registry_of_three,
)

HOSTILE = "<script>alert(1)</script>\x1b[31m\r\n\u202egnp.exe\ud800\"'&" + "x" * 300


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderRegistry, Path]:
    folder = tmp_path_factory.mktemp("text")
    return registry_of_three(folder), folder


def text_of(three: tuple[FolderRegistry, Path], version: int, entries: Any = None) -> str:
    return "\n".join(lineage_lines(gathered(three[0], version, three[1], entries)))


def test_every_part_of_a_whole_lineage_is_told(three: tuple[FolderRegistry, Path]) -> None:
    text = text_of(three, 2, journal(three[0]))
    for told in (
        "churn:2  @stable",
        "  table churn  version 4, 280,066 rows",
        "    load 2016  70,016 rows",
        "source       nannyml 0.13.1, sha256",
        "train.trees.count   150",
        "lightgbm     4.7.0",
        "was stable then  version 1, ",
        "parent of        version 3 @canary",
        "auc_min             passed  0.906, at least 0.8",
        "latency_us_max      passed  41.5, at most 1,000, on that machine",
        "words           not worse",
        "promoted from canary to stable, by ada",
        "canary  from 2026-01-31 14:00:00 UTC until 2026-01-31 15:00:00 UTC, with 5 %,",
        "stable  from 2026-01-31 15:00:00 UTC, to the journal's end",
        "4  2026-01-31T15:00:00.000Z: promoted.",
        "result  promoted",
        "signature-00ff00ff00ff00ff.json",
        "made           2026-01-30 09:12:44 UTC, on trainer-3",
        "attached       notes.txt",
    ):
        assert told in text, told
    assert "secret" not in text


@pytest.mark.parametrize("version", [1, 2, 3])
def test_no_line_is_wider_than_a_terminal(three: tuple[FolderRegistry, Path], version: int) -> None:
    assert max(map(len, text_of(three, version, journal(three[0])).splitlines())) <= WIDTH


def test_a_dirty_commit_is_said_to_be_dirty(tmp_path: Path) -> None:
    from tests.registry_client.lineage.made_versions import attach, provenance

    registry = FolderRegistry(tmp_path / "registry")
    registry.push(tmp_path / "b", digest=bundled(tmp_path / "b").digest)
    attach(registry, 1, "provenance.json", provenance(git={"commit": "4f2c1d", "dirty": True}))
    assert "4f2c1d, with changes that were not committed" in text_of((registry, tmp_path), 1)


def test_a_journal_that_was_not_asked_is_not_taken_for_an_empty_one(three: tuple[FolderRegistry, Path]) -> None:
    assert "no journal was asked: give --admin HOST:PORT, or --state" in text_of(three, 2)
    assert text_of(three, 2, []).count("never, as far as this journal tells") == 2


def test_many_entries_are_the_newest_and_a_count_of_the_others(three: tuple[FolderRegistry, Path]) -> None:
    digest = three[0].resolve(MODEL, 2).digest
    started = [
        {"model": MODEL, "number": number, "kind": "started", "at_utc": f"2026-02-01T{number:02}:00:00Z",
         "from": place(("2", digest)), "to": place(("2", digest))}
        for number in range(20)
    ]  # fmt: skip
    text = text_of(three, 2, started)
    assert f"{20 - ENTRIES_MAX} older entries: --json has all of them" in text
    assert "2026-02-01T19:00:00Z: started" in text


def test_long_lists_end_with_how_many_more(tmp_path: Path) -> None:
    loads = {f"{day:04}": {"rows": day, "digest": "ab" * 32} for day in range(400)}
    bundled(tmp_path / "b", lineage=Lineage(data(loads), {}, {}))
    lines = list(lineage_lines(of_bundle(read_verified(tmp_path / "b"))))
    assert len(lines) < ROWS_MAX + 60
    assert [line for line in lines if line.endswith("more: --json has all of them")]


def test_what_others_wrote_is_printable_and_within_the_width(tmp_path: Path) -> None:
    evil = HOSTILE.replace("\ud800", "")  # a manifest is ASCII, but JSON may spell halves of pairs
    lineage = Lineage({evil: evil, "tables": {evil: {"rows": 1}}}, {evil: evil}, {evil: [evil], "a": {evil: None}})
    manifest = bundled(tmp_path / "b", lineage=lineage, meaning={evil: HOSTILE})
    registry = FolderRegistry(tmp_path / "registry")
    registry.push(tmp_path / "b", digest=manifest.digest)
    registry.set_tag(MODEL, 1, "note", evil[:200])
    entry = {
        "model": MODEL, "number": HOSTILE, "kind": HOSTILE, "at_utc": "2026-01-31T12:00:00Z", "told": HOSTILE,
        "operator": HOSTILE, "reason": HOSTILE, "from": {}, "to": place((HOSTILE, manifest.digest)),
    }  # fmt: skip
    lines = text_of((registry, tmp_path), 1, [entry]).splitlines()
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= WIDTH
    assert "\\x1b[31m" in "".join(lines)


def test_a_difference_is_grouped_by_part_and_ends_with_its_sum(three: tuple[FolderRegistry, Path]) -> None:
    two, other = (gathered(three[0], version, three[1]) for version in (2, 3))
    lines = list(difference_lines(MODEL, between(two, other)))
    assert lines[0] == "from  churn:2 (@stable)"
    assert lines.index("Data") < lines.index("Gates") < lines.index("Files")
    assert any(line.startswith("  table churn, load 2018") for line in lines)
    assert lines[-1].startswith("The model's bytes differ, and so do: data, gates")
    assert max(map(len, lines)) <= WIDTH
