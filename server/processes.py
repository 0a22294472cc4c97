"""What the parent hands to the processes it starts: a JSON document on standard input, descriptors by number.

`python -m server.worker` reads a WorkerSpec, `python -m server.control` a ControlSpec. Always: every descriptor named
here is inherited open; nothing else is inherited but the standard streams.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from server.settings import Settings

BARE_FILE_VERSION: Final = "0"
"""The version of a bare file, which no registry counts."""

EXIT_OK: Final = 0
EXIT_REFUSED: Final = 78
"""A worker's way to say that starting it again will not help: a configuration or a model was refused (EX_CONFIG)."""
EXIT_HUNG: Final = 75
"""A worker's way to say that a run does not end: it is replaced, without the artifact that ran (EX_TEMPFAIL)."""


class Spec(BaseModel):
    """Frozen, and refuses fields it does not know: parent and child are of one build."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelPin(Spec):
    """Which bytes a model's name stands for, from the server's start to its end.

    version: the registry's number, or BARE_FILE_VERSION. digest: sha256 in hex, of the bundle's manifest or the file.
    """

    name: str
    version: str
    digest: str


class WorkerSpec(Spec):
    """One worker. generation: 1 at first start, one more at each restart of this index.

    What it loads is told by the plane's seats, so that all workers, and those started again, load the same bytes.

    listener: what "auto" came to. listen_fd: with "fast" the one listening socket that all workers accept from; None
    with "grpcio", where each worker binds listen_host and listen_port itself, with SO_REUSEPORT. listen_port is never
    0: the parent holds the port.
    """

    index: int = Field(ge=0, lt=64)
    generation: int = Field(ge=1)
    listener: Literal["fast", "grpcio"]
    listen_fd: int | None
    listen_host: str
    listen_port: int
    plane_fd: int
    settings: Settings


class ControlSpec(Spec):
    """The control process. The HTTP socket is listening; the admin port is bound by control itself.

    admin_port is never 0: the parent holds the port, bound with SO_REUSEPORT and not listening.
    listen: the workers' real address, to be shown. pins: one for each model, in the order of the settings: what is
    served first, where the plane has no routes yet.
    """

    http_fd: int
    admin_host: str
    admin_port: int
    listen: str
    plane_fd: int
    settings: Settings
    pins: tuple[ModelPin, ...] = ()
