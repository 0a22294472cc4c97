"""The log of events: numbers grow, the newest are kept, and whoever waits is woken."""

import asyncio

from server.control.event_log import EVENTS_MAX, EventLog


def test_the_newest_are_kept_and_a_gap_shows_what_is_gone() -> None:
    log = EventLog(1)
    for _ in range(EVENTS_MAX + 10):
        log.append("decision", "text")
    kept = log.kept_after(0)
    assert len(kept) == EVENTS_MAX
    assert kept[0].sequence == 11
    assert log.kept_after(kept[-2].sequence) == (kept[-1],)
    assert log.last_sequence == kept[-1].sequence


async def test_a_reader_that_waits_gets_the_next_event() -> None:
    log = EventLog(1)
    readers = [asyncio.create_task(log.after(0)) for _ in range(3)]
    await asyncio.sleep(0)
    event = log.append("alert", "disk full", model="m", detail={"bytes": 0})
    assert await asyncio.gather(*readers) == [(event,)] * 3


def test_a_restarted_process_numbers_higher_than_the_one_before() -> None:
    first = EventLog()
    last = [first.append("decision", "") for _ in range(1000)][-1].sequence
    assert EventLog().append("decision", "").sequence >= last - 1000
