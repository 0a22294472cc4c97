"""Traffic for the employment model: people of every age, and who answered them. Run beside `make serve`:

    .venv/bin/python examples/employment_traffic.py --seconds 60

Prints, about once a second, how many calls each version has answered, and how many answers were no numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter

import numpy as np

import roost.aio

PERSON = np.array([48, 21, 1, 0, 2, 0, 1, 1, 4, 2, 1, 2, 2, 2, 2, 1], np.float32)
AGES = (16, 95)


async def ask(client: roost.aio.Client, seed: int, until_s: float, counts: Counter[str]) -> None:
    """One caller after another of random ages, until the time is over."""
    random = np.random.default_rng(seed)
    while time.monotonic() < until_s:
        people = np.tile(PERSON, (1, 1))
        people[:, 0] = random.integers(*AGES)
        try:
            answer = await client.predict("employment", {"features": people})
        except roost.RoostError as error:
            counts[f"refused: {error}"[:60]] += 1
            await asyncio.sleep(0.1)
            continue
        counts[f"version {answer.version} ({answer.variant})"] += 1
        if not np.isfinite(answer["probabilities"]).all():
            counts["answers that are no numbers"] += 1


async def traffic(target: str, seconds: float, callers: int) -> None:
    counts: Counter[str] = Counter()
    until_s = time.monotonic() + seconds
    async with roost.aio.Client(target) as client:
        calls = [asyncio.create_task(ask(client, seed, until_s, counts)) for seed in range(callers)]
        while time.monotonic() < until_s:
            await asyncio.sleep(min(1.0, max(0.0, until_s - time.monotonic())))
            print("; ".join(f"{name}: {count:,}" for name, count in sorted(counts.items())), flush=True)
        await asyncio.gather(*calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="127.0.0.1:8001", help="where the server listens")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long")
    parser.add_argument("--callers", type=int, default=8, help="calls in flight")
    arguments = parser.parse_args()
    asyncio.run(traffic(arguments.target, arguments.seconds, arguments.callers))
