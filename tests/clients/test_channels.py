"""One channel for all clients of a target, opened by the first, closed by the last."""

from __future__ import annotations

import asyncio

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
