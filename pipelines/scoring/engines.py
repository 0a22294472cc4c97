"""Engines: what runs a bundle over pieces of rows, here or on a Ray cluster.

Used by `roost score`. Always: a piece's answers come back in the order of pieces; each engine runs the very bytes that
were verified, on one thread a run, as a server does.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from pipelines.refusal import Refusal
from pipelines.scoring.rows import Piece
from registry_client.golden import Tensors
from registry_client.reference_run import ReferenceRun
from registry_client.tensors import Signature
from registry_client.verify import VerifiedBundle

Answers = Mapping[str, np.ndarray]
Engine = Callable[[VerifiedBundle, Iterable[Piece]], Iterator[tuple[Piece, Answers]]]
PIECES_AHEAD: Final = 8
"""Handed to a cluster and not taken back: bounds memory, whatever the file's size."""


def local(bundle: VerifiedBundle, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Answers]]:
    """One piece after the other in this process."""
    run = ReferenceRun(bundle.model_bytes, bundle.manifest.signature)
    for piece in pieces:
        yield piece, run(piece.inputs)


def on_ray(bundle: VerifiedBundle, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Answers]]:
    """Pieces as tasks of a Ray cluster: the one that RAY_ADDRESS names, or one of this machine's own."""
    try:
        import ray
    except ImportError as error:
        raise Refusal(
            "--engine", expected="Ray to be installed", got=str(error), hint="pip install roost-server[train,ray]."
        ) from error
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        model = ray.put(bundle.model_bytes)
        task = ray.remote(max_retries=2)(_on_a_node)
        waiting: deque[tuple[Piece, Any]] = deque()
        for piece in pieces:
            waiting.append((piece, task.remote(bundle.digest, model, bundle.manifest.signature, piece.inputs)))
            if len(waiting) == PIECES_AHEAD:
                yield _taken(ray, waiting)
        while waiting:
            yield _taken(ray, waiting)
    finally:
        if started:
            ray.shutdown()


def _taken(ray: Any, waiting: deque[tuple[Piece, Any]]) -> tuple[Piece, Answers]:
    piece, reference = waiting.popleft()
    try:
        return piece, ray.get(reference)
    except ray.exceptions.RayError as error:
        raise Refusal(
            f"rows from {piece.first} on", expected="the cluster to run them", got=" ".join(str(error).split())[:200],
            hint="See the cluster's own logs, then run this again.",
        ) from error  # fmt: skip


_SESSIONS: Final[dict[str, ReferenceRun]] = {}
"""The one that a worker process of the cluster keeps, by digest: loading it anew would take longer than a piece."""


def _on_a_node(digest: str, model_bytes: bytes, signature: Signature, inputs: Tensors) -> Answers:
    """One piece, in a worker process of the cluster."""
    if digest not in _SESSIONS:
        _SESSIONS.clear()
        _SESSIONS[digest] = ReferenceRun(model_bytes, signature)
    return _SESSIONS[digest](inputs)


ENGINES: Final[dict[str, Engine]] = {"local": local, "ray": on_ray}
