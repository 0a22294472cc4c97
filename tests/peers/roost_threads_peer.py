"""Peer: the blocking `roost` client, shared by threads. A blocking call cannot be cancelled: its deadline stands in."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
from concurrent_calls import INPUT, Answer, Call, arguments_of, run_peer

import roost

SHORT_DEADLINE_S = 0.005


@asynccontextmanager
async def connection(arguments: argparse.Namespace) -> AsyncIterator[Sequence[Call]]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(arguments.callers) as threads, roost.Client(arguments.target, timeout_s=60) as client:

        async def predict(rows: np.ndarray) -> Answer:
            # A cancelled task leaves its thread to finish: the answer is dropped, the caller's next call goes on.
            prediction = await loop.run_in_executor(threads, client.predict, arguments.model, {INPUT: rows})
            return prediction.outputs

        def predict_in_short(rows: np.ndarray) -> Answer:
            try:
                return client.predict(arguments.model, {INPUT: rows}, timeout_s=SHORT_DEADLINE_S).outputs
            except roost.errors.DeadlineExceeded:
                return client.predict(arguments.model, {INPUT: rows}).outputs

        async def predict_again(rows: np.ndarray) -> Answer:
            return await loop.run_in_executor(threads, predict_in_short, rows)

        yield [predict, predict_again]


if __name__ == "__main__":
    run_peer(arguments_of(__doc__), connection)
