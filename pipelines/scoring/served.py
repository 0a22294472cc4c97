"""A running server as an engine: the same pieces, asked of it by Roost's own client.

Used by `agreement.py`, which holds its answers against the bundle's. Always: an answer of another digest than the
bundle's is refused, and never compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

from pipelines.refusal import Refusal
from pipelines.scoring.engines import Answers, Engine
from pipelines.scoring.rows import Piece
from registry_client.golden import Tensors
from registry_client.verify import VerifiedBundle
from roost import Client, errors

CALL_ROWS: Final = 512
CALLERS: Final = 4
CALL_S_MAX: Final = 30.0


def by_server(target: str) -> Engine:
    """target: HOST:PORT of its predictions."""

    def run(bundle: VerifiedBundle, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Answers]]:
        with Client(target, timeout_s=CALL_S_MAX) as client, ThreadPoolExecutor(CALLERS) as callers:
            for piece in pieces:
                parts = list(callers.map(lambda inputs: _asked(client, target, bundle, inputs), _calls(piece)))
                yield piece, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    return run


def _calls(piece: Piece) -> Iterator[Tensors]:
    rows = len(next(iter(piece.inputs.values())))
    for first in range(0, rows, CALL_ROWS):
        yield {name: values[first : first + CALL_ROWS] for name, values in piece.inputs.items()}


def _asked(client: Client, target: str, bundle: VerifiedBundle, inputs: Tensors) -> Answers:
    try:
        reply = client.predict(bundle.manifest.name, inputs)
    except errors.RoostError as error:
        raise Refusal(
            f"server {target}", expected="an answer to every row", got=f"{error.code.name}: {error}"[:300].rstrip("."),
            hint="Name the port of its predictions, and see that it is up.",
        ) from error  # fmt: skip
    if not reply.digest_prefix or not bundle.digest.startswith(reply.digest_prefix):
        raise Refusal(
            f"server {target}", expected=f"answers of digest {bundle.digest[:12]}",
            got=f"of version {reply.version}, digest {reply.digest_prefix or 'unknown'}",
            hint="Score the version that it serves to everybody.",
        )  # fmt: skip
    return reply.outputs
