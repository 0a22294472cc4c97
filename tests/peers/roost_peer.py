"""Peer: the `roost` client on asyncio, cancelled by its tasks."""

import argparse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
from concurrent_calls import INPUT, Answer, Call, arguments_of, run_peer

import roost


@asynccontextmanager
async def connection(arguments: argparse.Namespace) -> AsyncIterator[Sequence[Call]]:
    async with roost.aio.Client(arguments.target, timeout_s=60) as client:

        async def predict(rows: np.ndarray) -> Answer:
            return (await client.predict(arguments.model, {INPUT: rows})).outputs

        yield [predict]


if __name__ == "__main__":
    run_peer(arguments_of(__doc__), connection)
