"""Keep many calls in flight on one connection, and slow down where the server says that it is overloaded.

    python examples/client_concurrent.py employment --input features --width 16 --calls 1000

Needs `roost-grpc` only (clients/python). One call a row is fine: the server batches the rows of concurrent calls.
"""

import argparse
import asyncio
import random
import time

import numpy as np

import roost

BACKOFF_S, ATTEMPTS = 0.05, 5


async def predict_patiently(client: roost.aio.Client, model: str, inputs: dict[str, np.ndarray]) -> roost.Prediction:
    """A prediction, asked for again after a growing, jittered pause while the server's queue is full."""
    for attempt in range(ATTEMPTS):
        try:
            return await client.predict(model, inputs)
        except roost.errors.Overloaded:
            if attempt == ATTEMPTS - 1:
                raise
            await asyncio.sleep(BACKOFF_S * 2**attempt * random.uniform(0.5, 1.5))
    raise AssertionError("unreachable: the last attempt returns or raises")


async def run(arguments: argparse.Namespace) -> None:
    rows = np.random.default_rng(0).standard_normal((arguments.calls, 1, arguments.width)).astype(np.float32)
    in_flight = asyncio.Semaphore(arguments.in_flight)

    async with roost.aio.Client(arguments.target) as client:

        async def one(row: np.ndarray) -> roost.Prediction:
            async with in_flight:
                return await predict_patiently(client, arguments.model, {arguments.input: row})

        began = time.perf_counter()
        predictions = await asyncio.gather(*(one(row) for row in rows))
        seconds = time.perf_counter() - began
    print(f"{len(predictions)} predictions in {seconds:.2f} s, {len(predictions) / seconds:.0f}/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--target", default="127.0.0.1:8001")
    parser.add_argument("--input", required=True, help="name of the model's float32 input of shape [rows, width]")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=64)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
