"""One channel for all clients of a target, opened by the first, closed by the last."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import grpc
import numpy as np
import pytest

import roost
from roost import channels, errors

ROW = {"x": np.zeros(1, np.float32)}


def test_clients_of_one_target_share_a_connection_until_the_last_has_closed(scripted):
    first, second = roost.Client(scripted.target), roost.Client(scripted.target)
    first.predict("m", ROW)
    second.predict("m", ROW)
    first.close()
    second.predict("m", ROW)
    assert len(set(scripted.peers)) == 1
    second.close()
    with pytest.raises(errors.Cancelled):
        second.predict("m", ROW)
    assert channels._blocking == {}


def test_a_client_that_closes_twice_takes_nothing_from_its_neighbour(scripted):
    with roost.Client(scripted.target) as neighbour:
        extra = roost.Client(scripted.target)
        extra.close()
        extra.close()
        neighbour.predict("m", ROW)


def test_clients_with_other_credentials_or_bounds_have_a_channel_of_their_own(scripted):
    with (
        roost.Client(scripted.target),
        roost.Client(scripted.target, reply_bytes_max=1),
        roost.Client(scripted.target, credentials=grpc.ssl_channel_credentials()),
    ):
        assert len(channels._blocking) == 3
    assert channels._blocking == {}


def test_plain_text_and_tls_do_not_mix(scripted):
    with (
        roost.Client(scripted.target, credentials=grpc.ssl_channel_credentials(), timeout_s=5) as client,
        pytest.raises(errors.Unavailable),
    ):
        client.predict("m", ROW)


async def test_asyncio_clients_of_one_loop_share_a_channel(scripted):
    async with roost.aio.Client(scripted.target) as first:
        async with roost.aio.Client(scripted.target) as second:
            await first.predict("m", ROW)
            await second.predict("m", ROW)
            assert len(channels._asyncio) == 1
        await first.predict("m", ROW)
    assert channels._asyncio == {}
    assert len(set(scripted.peers)) == 1


def test_each_event_loop_has_a_channel_of_its_own_and_a_dead_ones_is_forgotten(scripted):
    async def leave_open() -> None:
        await roost.aio.Client(scripted.target).predict("m", ROW)

    async def use() -> int:
        async with roost.aio.Client(scripted.target) as client:
            await client.predict("m", ROW)
            return len(channels._asyncio)

    asyncio.run(leave_open())
    assert asyncio.run(use()) == 1
    assert channels._asyncio == {}


def test_an_asyncio_client_refuses_a_second_event_loop_in_words(scripted):
    client = roost.aio.Client(scripted.target)

    async def predict() -> None:
        await client.predict("m", ROW)

    async def predict_and_close() -> None:
        await client.predict("m", ROW)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(predict_and_close())
    with pytest.raises(errors.InvalidInput, match="one client for each loop"):
        asyncio.run(predict())
    loop.run_until_complete(client.close())
    loop.close()
    assert channels._asyncio == {}


def test_a_connection_cut_while_the_server_works_is_unavailable_and_the_call_is_made_again(scripted):
    with socket.create_server(("127.0.0.1", 0)) as front:
        links: list[socket.socket] = []
        threading.Thread(target=forward, args=(front, scripted.target, links), daemon=True).start()

        answer = scripted.handler

        def cut_the_first(request, context):
            if len(scripted.requests) == 1:
                for link in links:
                    link.shutdown(socket.SHUT_RDWR)
            return answer(request, context)

        scripted.handler = cut_the_first
        with roost.Client(f"127.0.0.1:{front.getsockname()[1]}") as client:
            assert client.predict("m", ROW).version == "7"
    assert len(scripted.requests) == 2, "the server did it twice"
    assert len(set(scripted.peers)) == 2


def forward(front: socket.socket, target: str, links: list[socket.socket]) -> None:
    """Passes bytes on both ways for each connection to `front`, until it is closed."""
    host, _, port = target.rpartition(":")
    with contextlib.suppress(OSError):
        while True:
            client = front.accept()[0]
            server = socket.create_connection((host, int(port)))
            links += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(65536):
            sink.sendall(content)
        sink.shutdown(socket.SHUT_WR)
