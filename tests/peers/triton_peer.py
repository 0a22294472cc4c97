"""Peer: tritonclient.grpc, its `async_infer` with callbacks, cancelled by its own call context.

Nothing here imports the project's protobuf modules: both register `inference.*`, under two file names.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import tritonclient.grpc as triton
from concurrent_calls import INPUT, OUTPUT, Answer, Call, arguments_of, run_peer


def _settle(future: asyncio.Future, result: triton.InferResult | None, error: Exception | None) -> None:
    if future.done():
        return  # cancelled meanwhile
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result({OUTPUT: result.as_numpy(OUTPUT)})


@asynccontextmanager
async def connection(arguments: argparse.Namespace) -> AsyncIterator[Sequence[Call]]:
    loop = asyncio.get_running_loop()
    with triton.InferenceServerClient(arguments.target) as client:

        async def infer(rows: np.ndarray) -> Answer:
            tensor = triton.InferInput(INPUT, list(rows.shape), "FP32")
            tensor.set_data_from_numpy(rows)
            future: asyncio.Future[Answer] = loop.create_future()

            def settle(result: triton.InferResult | None, error: Exception | None) -> None:
                loop.call_soon_threadsafe(_settle, future, result, error)

            context = client.async_infer(arguments.model, [tensor], settle)
            try:
                return await future
            except asyncio.CancelledError:
                context.cancel()
                raise

        yield [infer]


if __name__ == "__main__":
    run_peer(arguments_of(__doc__), connection)
