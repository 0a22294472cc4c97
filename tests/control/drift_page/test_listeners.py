"""Pages that listen: told of what is new and of nothing twice, few of them, and none of them holds up an end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from server.control.drift_page.listeners import LISTENERS_MAX, Listeners
from tests.control.drift_page.watched import MODEL, Watched, watched

LIMIT_S = 20.0


class Heard:
    """One listener's lines, as they come."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def line(self, beginning: str) -> str:
        """The next one that begins so, without its beginning."""
        async with asyncio.timeout(LIMIT_S):
            async for line in self._lines:
                if line.startswith(beginning):
                    return line.removeprefix(beginning)
        raise EOFError(beginning)

    async def news(self) -> Any:
        return json.loads(await self.line("data: "))

    async def ends(self) -> bool:
        """Whether the server has brought it to its end, in whole."""
        async with asyncio.timeout(LIMIT_S):
            async for _ in self._lines:
                pass
        return True


@asynccontextmanager
async def listening(world: Watched) -> AsyncIterator[Heard]:
    async with (
        httpx.AsyncClient(base_url=world.address, timeout=LIMIT_S) as client,
        client.stream("GET", "/drift/events", params={"model": MODEL}) as answer,
    ):
        yield Heard(answer)


async def until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_listener_is_told_what_is_known_and_then_of_each_window_that_closes(tmp_path: Path) -> None:
    async with watched(tmp_path) as world, listening(world) as heard:
        assert heard.answer.headers["content-type"].startswith("text/event-stream")
        first = await heard.news()
        assert (first["model"], first["windows"], first["alerts"]) == (MODEL, [], [])
        assert first["reason"] == "No window has ended yet."
        await world.minutes(1)
        second = await heard.news()
        assert {(one["signal"], one["length"], one["verdict"]) for one in second["windows"]} == {
            ("inputs", "minute", "quiet"), ("predictions", "minute", "quiet"),
        }  # fmt: skip
        assert second["windows"][0]["end_utc"] == (await world.heat_map())["columns"][-1]["end_utc"]
        world.shifts["age"] = 2.0
        await world.minutes(1)
        third = await heard.news()
        while not third["alerts"]:
            third = await heard.news()
        assert third["alerts"] == [f"drift of {MODEL}: inputs"]


async def test_nothing_is_told_twice_and_silence_has_a_heartbeat(tmp_path: Path) -> None:
    async with watched(tmp_path, listeners=Listeners(poll_s=0.01, beat_s=0.05)) as world, listening(world) as heard:
        await heard.news()
        for _ in range(3):
            assert await heard.line("") is not None  # blank ones between
            assert await heard.line(":")
        await world.minutes(1)
        lines = []
        async with asyncio.timeout(LIMIT_S):
            while not any(line.startswith("data:") for line in lines):
                lines.append(await heard.line(""))
        beats = [await heard.line("") for _ in range(12)]
        assert not any(line.startswith("data:") for line in beats)


async def test_one_listener_too_many_is_refused_in_words_and_has_room_once_another_leaves(tmp_path: Path) -> None:
    async with watched(tmp_path) as world, AsyncExitStack() as stack:
        all_heard = [await stack.enter_async_context(listening(world)) for _ in range(LISTENERS_MAX)]
        for heard in all_heard:
            await heard.news()
        assert world.listeners.count == LISTENERS_MAX
        refused = await world.get("/drift/events", model=MODEL)
        assert refused.status_code == 503
        assert f"expected at most {LISTENERS_MAX} pages that listen at once" in refused.text
        assert refused.headers["retry-after"] == "30"
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert (await world.get("/drift/models")).status_code == 200, "everything else answers"
        await stack.aclose()
        await until(lambda: world.listeners.count == 0)
        async with listening(world) as heard:
            await heard.news()


async def test_asking_for_the_headers_alone_does_not_listen(tmp_path: Path) -> None:
    async with watched(tmp_path) as world, httpx.AsyncClient(base_url=world.address) as client:
        answer = await client.head("/drift/events", params={"model": MODEL})
        assert answer.status_code == 200
        assert world.listeners.count == 0


async def test_all_listeners_end_in_whole_when_the_process_stops(tmp_path: Path) -> None:
    async with watched(tmp_path) as world, AsyncExitStack() as stack:
        all_heard = [await stack.enter_async_context(listening(world)) for _ in range(3)]
        for heard in all_heard:
            await heard.news()
        world.listeners.close()
        world.http.should_exit = True
        assert all([await heard.ends() for heard in all_heard])
        async with asyncio.timeout(LIMIT_S):
            await asyncio.shield(world.serving)
        assert world.listeners.count == 0


async def test_who_comes_while_the_process_stops_is_refused(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        world.listeners.close()
        refused = await world.get("/drift/events", model=MODEL)
        assert (refused.status_code, refused.text) == (503, "The server stops. Ask again once it is back.\n")


async def test_a_listener_that_does_not_read_holds_up_neither_the_others_nor_the_end(tmp_path: Path) -> None:
    # Told something new at each poll, until nothing more fits between the two.
    flood = Listeners(poll_s=0.0005)
    async with watched(tmp_path, listeners=flood) as world:
        alerts = world.server.driver.alerts
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            host, port = world.address.removeprefix("http://").split(":")
            await loop.sock_connect(deaf, (host, int(port)))
            await loop.sock_sendall(deaf, f"GET /drift/events?model={MODEL} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            await until(lambda: flood.count == 1)
            for number in range(60):
                alerts[f"drift of {MODEL}: {'x' * 200_000} {number}"] = "a long one"
                await asyncio.sleep(0.002)
                alerts.clear()
                await asyncio.sleep(0.002)
            assert (await world.get("/drift/models")).status_code == 200
            flood.close()
            world.http.should_exit = True
            async with asyncio.timeout(LIMIT_S):
                await asyncio.shield(world.serving)
