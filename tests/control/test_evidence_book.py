"""The evidence book: nothing is counted twice, nothing is lost, and a digest's record goes on."""

import json
import logging
from dataclasses import fields
from pathlib import Path

import pytest

from native.plane.evidence import Cell
from native.plane.routes import Route, SeatRef
from protos.roost.v1 import admin_pb2
from server.control.evidence_book import KEPT_OPEN, EvidenceBook
from server.control.judging import look
from server.control.operations.replies import evidence_reply
from server.control.state_folder import StateFolder
from server.judgement.evidence import COUNTED, ArmCounts, keyless
from server.judgement.policy import Policy
from server.judgement.verdicts import Verdict

ARMS = STABLE, CANARY = SeatRef(0, 1), SeatRef(1, 1)
DIGEST = "c" * 64


def route(weight_epoch: int, ppm: int = 50_000) -> Route:
    return Route(stable=STABLE, canary=CANARY, canary_ppm=ppm, weight_epoch=weight_epoch)


def cell(ref: SeatRef, weight_epoch: int, requests: int, errors: int = 0, worker: int = 0) -> Cell:
    """Of requests without keys."""
    counts = (requests, errors, 0, 0, requests, errors, 0, 0)
    return Cell(worker, ref.seat, ref.generation, weight_epoch, *counts, *([0] * 7))


def book_with(*epochs: int) -> EvidenceBook:
    book = EvidenceBook("boot")
    for epoch in epochs:
        book.begin(0, "m", DIGEST, route(epoch))
    return book


def test_a_cell_that_is_read_twice_counts_once_and_workers_add_up() -> None:
    book = book_with(5)
    for requests in (10, 20, 20):
        book.collect(
            [cell(CANARY, 5, requests, 1), cell(CANARY, 5, requests, 0, worker=1), cell(STABLE, 5, 7 * requests)]
        )
    (record,) = book.records("m", DIGEST)
    assert record.canary == keyless(40, 1)
    assert record.stable == keyless(140, 0)
    assert (record.weight_epoch, record.canary_ppm) == (5, 50_000)


def test_a_cell_that_was_given_to_others_and_came_back_loses_nothing() -> None:
    book = book_with(5)
    book.collect([cell(CANARY, 5, 100, 3)])
    book.collect([])  # recycled
    book.collect([cell(CANARY, 5, 2, 1)])  # a late answer opened it again, from zero
    book.collect([cell(CANARY, 5, 4, 1)])
    assert book.records("m", DIGEST)[0].canary == keyless(104, 4)


def test_cells_of_another_generation_or_of_no_canary_are_nobodys_evidence() -> None:
    book = book_with(5)
    book.collect([cell(SeatRef(1, 2), 5, 9), cell(CANARY, 6, 9), cell(SeatRef(3, 1), 5, 9)])
    assert book.records("m", DIGEST)[0].canary == keyless(0, 0)


def test_closed_records_add_up_by_weight_and_the_sum_over_all_stays() -> None:
    book = EvidenceBook("boot")
    total = 0
    for epoch in range(1, 3 * KEPT_OPEN):
        book.begin(0, "m", DIGEST, route(epoch, ppm=10_000 * (1 + epoch % 3)))
        book.collect([cell(CANARY, epoch, epoch)])
        total += epoch
    records = book.records("m", DIGEST)
    assert sum(record.canary.requests for record in records) == total == book.canary_requests("m", DIGEST)
    assert len(records) <= 3 + KEPT_OPEN
    assert book.canary_requests("m", DIGEST, since_epoch=3 * KEPT_OPEN - 1) == 3 * KEPT_OPEN - 1


def test_the_next_control_process_goes_on_where_the_last_one_ended() -> None:
    book = book_with(5)
    book.collect([cell(CANARY, 5, 100)])
    again = EvidenceBook.decode(book.encode(), "boot")
    again.collect([cell(CANARY, 5, 110)])
    assert again.canary_requests("m", DIGEST) == 110


def test_a_digest_that_is_deployed_again_after_a_restart_of_the_server_keeps_its_record(tmp_path: Path) -> None:
    book = book_with(5)
    book.collect([cell(CANARY, 5, 100, 9), cell(STABLE, 5, 1000)])
    StateFolder(tmp_path).write_evidence(book.encode())
    again = StateFolder(tmp_path).read_evidence("another boot")
    again.begin(0, "m", DIGEST, route(9))
    again.collect([cell(CANARY, 9, 1), cell(CANARY, 5, 50)])  # seat 1, generation 1 of the new plane is something else
    assert [record.canary for record in again.records("m", DIGEST)] == [keyless(100, 9), keyless(1)]
    assert again.records("other", DIGEST) == ()


def test_each_count_of_a_cell_is_kept_by_its_name() -> None:
    """Through the cells, a restart and the closing of the record: no two of them change places."""
    book = book_with(5)
    named = {field.name: number for number, field in enumerate(fields(Cell), start=1)}
    ours = named | {"worker": 0, "seat": CANARY.seat, "generation": CANARY.generation, "weight_epoch": 5}
    book.collect([Cell(**ours)])
    expected = ArmCounts(**{name: named[name] for name in COUNTED})
    for read in (book, EvidenceBook.decode(book.encode(), "boot"), EvidenceBook.decode(book.encode(), "another")):
        assert [record.canary for record in read.records("m", DIGEST)] == [expected]
        assert [record.canary for record in EvidenceBook.decode(read.encode(), "third").records("m", DIGEST)] == [
            expected
        ]


def test_operators_are_told_each_count_by_its_name() -> None:
    book = book_with(5)
    named = {name: number for number, name in enumerate(COUNTED, start=1)}
    shown = dict.fromkeys((field.name for field in fields(Cell)), 0) | named
    book.collect([Cell(**shown | {"seat": ref.seat, "generation": ref.generation, "weight_epoch": 5}) for ref in ARMS])
    reply = evidence_reply("m", look(book, Policy(), "m", DIGEST, "2", 5), [])
    (epoch,) = reply.epochs
    assert epoch.stable == epoch.canary == admin_pb2.ArmCounts(**named)


OLD = {
    "format": 1,
    "boot": "boot",
    "open": [
        {
            "model": 0, "name": "m", "digest": DIGEST, "weight_epoch": 5, "canary_ppm": 500_000,
            "stable": [0, 1], "canary": [1, 1],
            "stable_cells": {"0": [[0, 0, 0, 0], [90_000, 0, 0, 0]]},
            "canary_cells": {"0": [[10_000, 1, 0, 0], [80_000, 2, 0, 1]]},
        }
    ],
    "closed": [{"name": "m", "digest": "d" * 64, "weights": [[50_000, 4, [19, 0, 0, 0], [1, 1, 0, 0]]]}],
}  # fmt: skip


@pytest.mark.parametrize("boot", ["boot", "another"])
def test_an_older_builds_failures_count_and_its_requests_let_nobody_pass(
    boot: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "roost.control"):
        book = EvidenceBook.decode(json.dumps(OLD).encode(), boot)
    assert "older build" in caplog.text
    (record,) = book.records("m", DIGEST)
    assert record.canary == ArmCounts(90_000, 3, 0, 1, 0, 3, 0, 1)
    assert book.records("m", "d" * 64)[0].canary == ArmCounts(1, 1, 0, 0, 0, 1, 0, 0)
    # As it was counted then, by requests, it would pass: 90,000 of them with three errors are far below the cap.
    judgement = look(book, Policy(), "m", DIGEST, "2", 5).judgement
    assert judgement.verdict is Verdict.WAIT
    assert judgement.canary_requests == 90_000
    caplog.clear()
    EvidenceBook.decode(book.encode(), boot)
    assert caplog.text == ""


def test_no_book_is_an_empty_book_and_so_is_a_damaged_one(tmp_path: Path) -> None:
    assert StateFolder(tmp_path / "none").read_evidence("boot").records("m", DIGEST) == ()
    for text in ("", "[]", '{"format":3}', json.dumps({"format": 1, "boot": "b", "closed": [3], "open": []})):
        with pytest.raises(ValueError):
            EvidenceBook.decode(text.encode(), "boot")
        (tmp_path / "evidence.json").write_text(text)
        assert StateFolder(tmp_path).read_evidence("boot").records("m", DIGEST) == ()
