"""Many concurrent callers with rows of their own, some cancelled, every answer compared with bare ONNX Runtime's.

Used by the scripts `*_peer.py` beside it, each of which speaks through one client library and prints one JSON line.
Imports no protobuf module: one peer's library registers names that would collide with ours.
Always: each call that was not cancelled is answered once and counted once, as right, wrong or failed; no two calls
send the same rows, so an answer that was meant for another call cannot pass.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field

import numpy as np
import onnxruntime as ort

INPUT, OUTPUT = "features", "scores"
RTOL, ATOL = 1e-5, 1e-6
ROWS_MAX = 37
CANCELLED_SHARE = 0.25
CANCEL_AFTER_S_MAX = 0.03  # about what 64 concurrent calls of a Python client take, so both outcomes are common
MESSAGES_KEPT = 5

Answer = Mapping[str, np.ndarray]
Call = Callable[[np.ndarray], Awaitable[Answer]]
Connection = AbstractAsyncContextManager[Sequence[Call]]


@dataclass
class Summary:
    """What became of all calls. `swapped` are those of the `wrong` that equal another call's answer."""

    seed: int
    calls: int = 0
    answered: int = 0
    cancelled: int = 0
    wrong: int = 0
    swapped: int = 0
    failed: int = 0
    messages: list[str] = field(default_factory=list)

    def note(self, message: str) -> None:
        if len(self.messages) < MESSAGES_KEPT:
            self.messages.append(message)


@dataclass(frozen=True)
class Expected:
    """One call's rows and what bare ONNX Runtime makes of them."""

    rows: np.ndarray
    scores: np.ndarray

    def difference(self, answer: Answer) -> str | None:
        """Why `answer` is not the right one, or None."""
        if set(answer) != {OUTPUT}:
            return f"expected the output {OUTPUT}, got {sorted(answer)}"
        got = answer[OUTPUT]
        if got.dtype != self.scores.dtype or got.shape != self.scores.shape:
            return f"expected {self.scores.dtype}{self.scores.shape}, got {got.dtype}{got.shape}"
        if not np.allclose(got, self.scores, rtol=RTOL, atol=ATOL):
            return f"expected {self.scores[0].tolist()}..., got {got[0].tolist()}..."
        return None


def expected_calls(onnx_file: str, count: int, random: np.random.Generator) -> list[Expected]:
    """`count` calls of 1 to ROWS_MAX standard normal rows each, answered by an `InferenceSession` of the file."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(onnx_file, options)
    width = session.get_inputs()[0].shape[1]
    calls = []
    for size in random.integers(1, ROWS_MAX + 1, count):
        rows = random.standard_normal((size, width)).astype(np.float32)
        calls.append(Expected(rows, session.run([OUTPUT], {INPUT: rows})[0]))
    return calls


async def _one_call(call: Call, expected: Expected, others: list[Expected], cancel_after_s: float | None, to: Summary):
    to.calls += 1
    task = asyncio.ensure_future(call(expected.rows))
    if cancel_after_s is not None:
        await asyncio.sleep(cancel_after_s)
        task.cancel()
    try:
        answer = await task
    except asyncio.CancelledError:
        if cancel_after_s is None:
            to.failed += 1
            to.note("cancelled, though nobody asked for it")
        else:
            to.cancelled += 1
        return
    except Exception as error:  # noqa: BLE001 - whatever a client library raises is this call's result
        to.failed += 1
        to.note(f"{type(error).__name__}: {error}")
        return
    to.answered += 1
    difference = expected.difference(answer)
    if difference is not None:
        to.wrong += 1
        to.swapped += any(other.difference(answer) is None for other in others)
        to.note(difference)


async def run_callers(calls: Sequence[Call], expected: list[Expected], callers: int, seed: int) -> Summary:
    """Shares `expected` among `callers` concurrent callers; caller i speaks through calls[i % len(calls)]."""
    random = np.random.default_rng(seed + 1)
    cancels = random.random(len(expected)) < CANCELLED_SHARE
    delays = random.random(len(expected)) * CANCEL_AFTER_S_MAX
    summary = Summary(seed)

    async def caller(number: int) -> None:
        for index in range(number, len(expected), callers):
            delay = float(delays[index]) if cancels[index] else None
            await _one_call(calls[number % len(calls)], expected[index], expected, delay, summary)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return summary


def arguments_of(description: str) -> argparse.Namespace:
    """The command line that every peer takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--target", required=True, help="host:port of the server")
    parser.add_argument("--model", required=True, help="name under which the file is served")
    parser.add_argument("--onnx", required=True, help="the ONNX file, for the expected answers")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--calls", type=int, default=1280, help="of all callers together")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = int(np.random.SeedSequence().generate_state(1)[0])
    return arguments


def run_peer(arguments: argparse.Namespace, connect: Callable[[argparse.Namespace], Connection]) -> None:
    """Runs all calls through a connection, prints the summary as one JSON line; exit 1 where one was not right."""
    print(f"seed {arguments.seed}", file=sys.stderr, flush=True)
    expected = expected_calls(arguments.onnx, arguments.calls, np.random.default_rng(arguments.seed))

    async def run() -> Summary:
        async with connect(arguments) as calls:
            return await run_callers(calls, expected, arguments.callers, arguments.seed)

    summary = asyncio.run(run())
    print(json.dumps(asdict(summary)))
    sys.exit(1 if summary.wrong or summary.failed else 0)
