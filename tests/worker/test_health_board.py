"""The health board: what watchers see, and that none keeps a drain waiting."""

from __future__ import annotations

import asyncio

from server.worker.servicers.health_board import HealthBoard


async def next_state(watch) -> bool | None:
    return await asyncio.wait_for(anext(watch), 30)


async def test_nothing_is_serving_before_it_is_said() -> None:
    board = HealthBoard(["a"])
    assert board.services == ("", "a")
    assert (board.state(""), board.state("a"), board.state("b")) == (False, False, None)


async def test_a_watcher_sees_the_state_now_and_each_change() -> None:
    board = HealthBoard(["a"])
    watch = board.watch("a")
    assert await next_state(watch) is False
    board.serve()
    assert await next_state(watch) is True
    board.drain()
    assert await next_state(watch) is False
    assert [state async for state in watch] == []


async def test_a_watcher_that_waits_is_woken_by_a_change() -> None:
    board = HealthBoard(["a"])
    watch = board.watch("a")
    await next_state(watch)
    waiting = asyncio.ensure_future(next_state(watch))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    board.serve()
    assert await waiting is True


async def test_a_change_that_is_taken_back_wakes_nobody_twice() -> None:
    board = HealthBoard(["a"])
    board.serve()
    watch = board.watch("a")
    assert await next_state(watch) is True
    board.serve()
    waiting = asyncio.ensure_future(next_state(watch))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    board.drain()
    assert await waiting is False


async def test_a_drain_releases_watchers_of_unknown_services_too() -> None:
    board = HealthBoard(["a"])
    watch = board.watch("nobody")
    assert await next_state(watch) is None
    board.drain()
    assert [state async for state in watch] in ([], [None])
