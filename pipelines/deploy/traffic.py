"""Recorded traffic: the evaluation's rows as callers would send them, for a server that has no callers of its own.

Played by `rollout.py` through Roost's own client. Always: at most CALLERS calls are in flight, and a call that fails is
counted by what it said, never fatal; every row has its turn before any comes again, spread evenly over the examples'
order, so that any minute of it looks like all of it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.deploy.options import Play
from pipelines.examples import Examples
from pipelines.parameters import Step
from roost import errors
from roost.aio import Client

CALLERS: Final = 32
CALL_S_MAX: Final = 5.0
ROWS_OF_CALLS: Final = (1, 1, 1, 4)
"""Rows of one call after the other: evidence and weights count calls, so that small ones tell most for their cost."""
GOLDEN_SHARE: Final = (math.sqrt(5) - 1) / 2
OWN_PER_S: Final = 1.0
"""Calls a second that come without us: with as many, a model has traffic of its own, and is judged by that."""
ERROR_CHARACTERS: Final = 160
ERROR_TEXTS_MAX: Final = 20


@dataclass
class Tally:
    """What became of the calls. replies: by version. errors: by text, of those that failed."""

    calls: int = 0
    rows: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    began_s: float = field(default_factory=time.monotonic)

    @property
    def failed(self) -> int:
        return self.errors.total()

    @property
    def calls_per_s(self) -> float:
        return self.calls / max(time.monotonic() - self.began_s, 1e-3)

    def note_error(self, text: str) -> None:
        """Texts that name each its own value would fill the memory: from ERROR_TEXTS_MAX on they are one."""
        shown = " ".join(text.split())[:ERROR_CHARACTERS]
        self.errors[shown if shown in self.errors or len(self.errors) < ERROR_TEXTS_MAX else "others"] += 1

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "rows": self.rows,
            "calls_per_s": round(self.calls_per_s, 1),
            "replies": dict(sorted(self.replies.items())),
            "errors": dict(self.errors.most_common()),
        }


@dataclass(frozen=True)
class Call:
    """One to be made. key: of routing; "" for none."""

    inputs: Mapping[str, npt.NDArray[Any]]
    key: str
    rows: int


def order_of(rows: int) -> npt.NDArray[np.int64]:
    """int64[rows]: each row once, those that follow each other far apart."""
    stride = max(1, round(rows * GOLDEN_SHARE))
    while math.gcd(stride, rows) != 1:
        stride += 1
    return np.arange(rows, dtype=np.int64) * stride % rows


def calls_of(examples: Examples, *, keyed: bool) -> Iterator[Call]:
    """Without end. A call's key is that of its first row."""
    order, inputs, first, number = order_of(len(examples)), examples.inputs(), 0, 0
    while True:
        rows = order[first : first + ROWS_OF_CALLS[number % len(ROWS_OF_CALLS)]]
        key = str(examples.keys[rows[0]]) if keyed else ""
        yield Call({name: values[rows] for name, values in inputs.items()}, key, len(rows))
        number += 1
        first = (first + len(rows)) % len(examples)


def has_keys_enough(rows: int, steps: Sequence[Step]) -> bool:
    """Whether a plan can come to its end before the first key comes again, which would tell nothing new."""
    return rows * len(ROWS_OF_CALLS) / sum(ROWS_OF_CALLS) >= 2 * sum(step.requests / step.weight for step in steps)


def needed_per_s(steps: Sequence[Step], rows_per_s: int) -> float:
    """Calls that the plan needs in a second, of both variants, to be held up by time alone; what is played, at most."""
    return min(rows_per_s, max((step.requests / step.weight / max(step.seconds, 1.0) for step in steps), default=0.0))


def is_played(play: Play, seen_per_s: float, needed: float) -> bool:
    """seen_per_s: calls that came without us."""
    return play == "always" or (play == "auto" and seen_per_s < min(OWN_PER_S, needed))


async def play(target: str, model: str, examples: Examples, calls_per_s: float, tally: Tally, *, keyed: bool) -> None:
    """Calls at a steady pace, or as fast as the server answers where that is slower; until it is cancelled."""
    calls = calls_of(examples, keyed=keyed)
    async with Client(target, timeout_s=CALL_S_MAX) as client, asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(_caller(client, model, calls, CALLERS / calls_per_s, number / calls_per_s, tally))


async def _caller(
    client: Client, model: str, calls: Iterator[Call], pause_s: float, wait_s: float, tally: Tally
) -> None:
    due_s = time.monotonic() + wait_s
    while True:
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        call = next(calls)
        try:
            reply = await client.predict(model, call.inputs, routing_key=call.key)
            tally.replies[reply.version] += 1
        except errors.RoostError as error:
            tally.note_error(f"{error.code.name}: {error}")
        tally.calls += 1
        tally.rows += call.rows
        # From now on where it is late: a burst of what was missed would be traffic of another kind.
        due_s = max(due_s + pause_s, time.monotonic())
