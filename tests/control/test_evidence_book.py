"""The evidence book: nothing is counted twice, nothing is lost, and a digest's record goes on."""

import json
from pathlib import Path

import pytest

from native.plane.evidence import Cell
from native.plane.routes import Route, SeatRef
from server.control.evidence_book import KEPT_OPEN, EvidenceBook
from server.control.state_folder import StateFolder

STABLE, CANARY = SeatRef(0, 1), SeatRef(1, 1)
DIGEST = "c" * 64


def route(weight_epoch: int, ppm: int = 50_000) -> Route:
    return Route(stable=STABLE, canary=CANARY, canary_ppm=ppm, weight_epoch=weight_epoch)


def cell(ref: SeatRef, weight_epoch: int, requests: int, errors: int = 0, worker: int = 0) -> Cell:
    return Cell(worker, ref.seat, ref.generation, weight_epoch, requests, errors, 0, 0, *([0] * 7))


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
    assert record.canary == (40, 1, 0, 0)
    assert record.stable == (140, 0, 0, 0)
    assert (record.weight_epoch, record.canary_ppm) == (5, 50_000)


def test_a_cell_that_was_given_to_others_and_came_back_loses_nothing() -> None:
    book = book_with(5)
    book.collect([cell(CANARY, 5, 100, 3)])
    book.collect([])  # recycled
    book.collect([cell(CANARY, 5, 2, 1)])  # a late answer opened it again, from zero
    book.collect([cell(CANARY, 5, 4, 1)])
    assert book.records("m", DIGEST)[0].canary == (104, 4, 0, 0)


def test_cells_of_another_generation_or_of_no_canary_are_nobodys_evidence() -> None:
    book = book_with(5)
    book.collect([cell(SeatRef(1, 2), 5, 9), cell(CANARY, 6, 9), cell(SeatRef(3, 1), 5, 9)])
    assert book.records("m", DIGEST)[0].canary == (0, 0, 0, 0)


def test_closed_records_add_up_by_weight_and_the_sum_over_all_stays() -> None:
    book = EvidenceBook("boot")
    total = 0
    for epoch in range(1, 3 * KEPT_OPEN):
        book.begin(0, "m", DIGEST, route(epoch, ppm=10_000 * (1 + epoch % 3)))
        book.collect([cell(CANARY, epoch, epoch)])
        total += epoch
    records = book.records("m", DIGEST)
    assert sum(record.canary[0] for record in records) == total == book.canary_requests("m", DIGEST)
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
    assert [record.canary for record in again.records("m", DIGEST)] == [(100, 9, 0, 0), (1, 0, 0, 0)]
    assert again.records("other", DIGEST) == ()


def test_no_book_is_an_empty_book_and_so_is_a_damaged_one(tmp_path: Path) -> None:
    assert StateFolder(tmp_path / "none").read_evidence("boot").records("m", DIGEST) == ()
    for text in ("", "[]", '{"format":2}', json.dumps({"format": 1, "boot": "b", "closed": [3], "open": []})):
        with pytest.raises(ValueError):
            EvidenceBook.decode(text.encode(), "boot")
        (tmp_path / "evidence.json").write_text(text)
        assert StateFolder(tmp_path).read_evidence("boot").records("m", DIGEST) == ()
