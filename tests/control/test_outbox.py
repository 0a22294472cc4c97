"""The outbox: everything arrives, in order, however long the far side is down."""

import asyncio
import random
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from server.control.outbox import Outbox


class FarSide:
    def __init__(self) -> None:
        self.down = False
        self.written: list[str] = []
        self.tries = 0

    def write(self, item: str) -> None:
        self.tries += 1
        if self.down:
            raise OSError(28, "No space left on device")
        self.written.append(item)


@pytest.fixture
def far() -> FarSide:
    return FarSide()


async def run_with(outbox: Outbox[str]):  # type: ignore[no-untyped-def]
    task = asyncio.create_task(outbox.run())
    await asyncio.sleep(0)
    return task


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_all_of_a_journal_arrives_in_order_over_a_full_disk(far: FarSide) -> None:
    told: list[str | None] = []
    outbox = Outbox("journal", far.write, told.append, longest_wait_s=0.02, random_=random.Random(1))
    task = await run_with(outbox)
    outbox.put(1, "one")
    assert await outbox.drained(30)
    far.down = True
    for number in range(2, 30):
        outbox.put(number, str(number))
    assert not await outbox.drained(0.5)
    assert outbox.pending == 28
    assert outbox.failure is not None
    assert "No space left" in outbox.failure
    far.down = False
    assert await outbox.drained(30)
    assert far.written == ["one", *(str(number) for number in range(2, 30))]
    assert len(told) == 2, "told once that it fails, once that it works again"
    assert told[1] is None
    await stop(task)


async def test_of_one_model_only_the_newest_document_is_written_and_one_that_comes_meanwhile_is_not_lost(
    far: FarSide,
) -> None:
    outbox = Outbox("registry", far.write, lambda _: None, longest_wait_s=0.01)
    far.down = True
    task = await run_with(outbox)
    for revision in range(5):
        outbox.put("m", f"m{revision}")
        outbox.put("n", f"n{revision}")
    await asyncio.sleep(0.3)
    far.down = False
    assert await outbox.drained(30)
    assert far.written == ["m4", "n4"]
    outbox.put("m", "m5")
    assert await outbox.drained(30)
    assert far.written[-1] == "m5"
    await stop(task)


async def test_it_waits_longer_and_longer_between_tries(far: FarSide) -> None:
    far.down = True
    outbox = Outbox("registry", far.write, lambda _: None)
    task = await run_with(outbox)
    outbox.put("m", "m")
    await asyncio.sleep(0.7)
    assert 1 <= far.tries <= 5
    await stop(task)


async def test_a_key_that_cannot_be_written_holds_up_no_other_and_waits_longer_and_longer_by_itself() -> None:
    tries: list[str] = []
    told: list[str | None] = []

    def write(item: str) -> None:
        tries.append(item)
        if item.startswith("bad") and "mended" not in item:
            raise OSError(5, f"{item}: no such model")

    outbox = Outbox("registry", write, told.append, independent=True)
    task = await run_with(outbox)
    outbox.put("bad", "bad1")
    outbox.put("good", "good1")
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.7
    number = 1
    while loop.time() < until:
        if f"good{number}" in tries:
            number += 1
            outbox.put("good", f"good{number}")
            outbox.put("bad", f"bad{number}")  # newer ones do not hurry it
        await asyncio.sleep(0.005)
    good = [item for item in tries if item.startswith("good")]
    assert good == [f"good{one}" for one in range(1, len(good) + 1)], "in order"
    assert len(good) > 20, "it waited for nobody"
    assert 1 <= len(tries) - len(good) <= 5
    assert outbox.failure is not None
    assert "no such model" in outbox.failure
    assert outbox.pending <= 2
    outbox.put("bad", "bad, mended")
    assert await outbox.drained(60)
    assert tries[-1] == "bad, mended"
    assert told[-1] is None
    assert told.count(None) == 1, "what others achieve does not end its alert"
    await stop(task)


async def test_all_keys_are_tried_again_while_the_far_side_is_down(far: FarSide) -> None:
    outbox = Outbox("registry", far.write, lambda _: None, independent=True, longest_wait_s=0.02)
    far.down = True
    task = await run_with(outbox)
    for key in "abc":
        outbox.put(key, key)
    await asyncio.sleep(0.2)
    assert not await outbox.drained(0)
    far.down = False
    assert await outbox.drained(30)
    assert sorted(far.written) == ["a", "b", "c"]
    await stop(task)


async def test_what_may_rest_is_written_once_for_many_and_what_may_not_at_once(far: FarSide) -> None:
    outbox = Outbox("registry", far.write, lambda _: None, independent=True)
    task = await run_with(outbox)
    for revision in range(1, 5):
        outbox.put("m", f"m{revision}", rest_s=60)
        outbox.put("n", f"n{revision}")
        await until(lambda: far.written[-1:] == [f"n{revision}"])  # noqa: B023  # awaited within the turn
    assert far.written == ["n1", "n2", "n3", "n4"]
    outbox.put("m", "m5")
    outbox.put("m", "m6", rest_s=60)
    await until(lambda: far.written[-1] == "m6")
    assert "m5" not in far.written, "a newer item is as urgent as the one it replaces"
    outbox.put("m", "m7", rest_s=60)
    await asyncio.sleep(0.05)
    assert far.written[-1] == "m6"
    assert await outbox.drained(30), "at the end nothing rests"
    assert far.written[-1] == "m7"
    await stop(task)


async def test_newer_items_do_not_make_a_key_rest_for_longer(far: FarSide) -> None:
    outbox = Outbox("registry", far.write, lambda _: None, independent=True)
    task = await run_with(outbox)
    begun_s = asyncio.get_running_loop().time()
    number = 0
    while not far.written:
        number += 1
        outbox.put("m", str(number), rest_s=0.2)
        await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() < begun_s + 10
    assert asyncio.get_running_loop().time() >= begun_s + 0.2
    assert int(far.written[0]) > 1
    await stop(task)


class HeldWrites:
    """A far side whose every write is let go by the test: `await next_one()`, then `go`."""

    def __init__(self) -> None:
        self.begun, self.go, self.fail = threading.Event(), threading.Event(), threading.Event()
        self.written: list[str] = []

    def write(self, item: str) -> None:
        self.begun.set()
        assert self.go.wait(10)
        self.go.clear()
        if self.fail.is_set():
            raise OSError("away")
        self.written.append(item)

    async def next_one(self) -> None:
        await until(self.begun.is_set)
        self.begun.clear()


async def writing_m0(far: HeldWrites) -> tuple[Outbox[str], asyncio.Task[None]]:
    outbox: Outbox[str] = Outbox("registry", far.write, lambda _: None, independent=True)
    task = await run_with(outbox)
    outbox.put("m", "m0")
    await far.next_one()
    return outbox, task


async def test_what_comes_while_an_urgent_item_is_written_rests_and_does_not_where_that_fails() -> None:
    far = HeldWrites()
    outbox, task = await writing_m0(far)
    outbox.put("m", "m1", rest_s=60)
    far.go.set()
    await until(lambda: far.written == ["m0"])
    await asyncio.sleep(0.05)
    assert not far.begun.is_set()
    far.fail.set()
    outbox.put("m", "m2")
    await far.next_one()
    outbox.put("m", "m3", rest_s=60)
    far.go.set()
    await until(lambda: outbox.failure is not None)
    far.fail.clear()
    far.go.set()
    await until(lambda: far.written == ["m0", "m3"])
    await stop(task)


async def test_what_is_urgent_stays_so_behind_a_write_whatever_comes_after_it() -> None:
    far = HeldWrites()
    outbox, task = await writing_m0(far)
    outbox.put("m", "urgent")
    outbox.put("m", "a note, and what was urgent", rest_s=60)
    far.go.set()
    await far.next_one()
    far.go.set()
    await until(lambda: far.written == ["m0", "a note, and what was urgent"])
    await stop(task)


async def test_nothing_rests_that_comes_while_all_is_drained() -> None:
    far = HeldWrites()
    outbox, task = await writing_m0(far)
    drained = asyncio.create_task(outbox.drained(10))
    await asyncio.sleep(0)
    outbox.put("m", "m1", rest_s=60)
    far.go.set()
    await far.next_one()
    far.go.set()
    assert await drained
    assert far.written == ["m0", "m1"]
    outbox.put("m", "m2", rest_s=60)
    await asyncio.sleep(0.05)
    assert not far.begun.is_set(), "from then on they rest again"
    await stop(task)


async def test_a_key_that_comes_again_and_again_does_not_keep_another_from_being_tried_again() -> None:
    refused = ["n"]
    tries = []

    def write(item: str) -> None:
        tries.append(item)
        if item in refused:
            raise OSError("away")

    outbox: Outbox[str] = Outbox("registry", write, lambda _: None, independent=True, longest_wait_s=0.05)
    task = await run_with(outbox)
    outbox.put("m", "m")
    outbox.put("n", "n")
    async with asyncio.timeout(10):
        while tries.count("n") < 3:
            outbox.put("m", "m")
            await asyncio.sleep(0)
    await stop(task)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
