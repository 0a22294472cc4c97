"""What a listener is to the worker's process, and which one it gets."""

from __future__ import annotations

import asyncio
from typing import Protocol

import numpy as np
import numpy.typing as npt

from server.processes import WorkerSpec
from server.worker.servicers.call import Serving

Words = npt.NDArray[np.int64]


class Listener(Protocol):
    """Accepts calls and answers them from the servicers.

    `failure` is done, with an exception, once the port cannot be served any more: the worker then ends, and its parent
    starts another.
    """

    failure: asyncio.Future[None]

    async def start(self) -> None: ...

    def begin_drain(self) -> None:
        """Tells clients to go elsewhere; calls in flight go on."""

    async def drain(self, grace_s: float) -> None:
        """Returns once every call in flight was answered, or was cut off after `grace_s`."""


def make_listener(spec: WorkerSpec, serving: Serving, counts: Words) -> Listener:
    """The one that the parent chose. Imports only that one: the other may lack its library."""
    from server.worker.listeners.grpcio import GrpcioListener

    return GrpcioListener(serving, spec.settings.limits, counts, spec.listen_host, spec.listen_port)
