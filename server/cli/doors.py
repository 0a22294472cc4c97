"""The server's three ports, bound by the parent before anything is started.

Always: each has a real port here, 0 included, and keeps it until the parent ends, whoever is restarted meanwhile.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from typing import Literal

from native.library import LibraryMissing, find_library, load_library
from server.addresses import join_address
from server.cli.configuration import ConfigurationError
from server.cli.ready_file import Addresses
from server.cli.sockets import held_port, listening_socket, port_of
from server.settings import ServerSettings

log = logging.getLogger("roost.parent")


@dataclass(frozen=True)
class Doors:
    """listener: what "auto" came to. listen: listening with "fast", held (see `held_port`) with "grpcio"."""

    listener: Literal["fast", "grpcio"]
    listen: socket.socket
    http: socket.socket
    admin: socket.socket
    listen_host: str
    admin_host: str

    @property
    def listen_port(self) -> int:
        return port_of(self.listen)

    @property
    def admin_port(self) -> int:
        return port_of(self.admin)

    @property
    def addresses(self) -> Addresses:
        return Addresses(
            join_address(self.listen_host, self.listen_port),
            join_address(str(self.http.getsockname()[0]), port_of(self.http)),
            join_address(self.admin_host, self.admin_port),
        )

    def close(self) -> None:
        for door in (self.listen, self.http, self.admin):
            door.close()


def open_doors(settings: ServerSettings) -> Doors:
    """Binds all three, or raises a ConfigurationError that names the key and binds none."""
    listener = choose_listener(settings.listener)
    opened: list[socket.socket] = []
    try:
        listen = listening_socket if listener == "fast" else held_port
        opened.append(listen("server.listen", settings.listen))
        opened.append(listening_socket("server.http", settings.http))
        opened.append(held_port("server.admin", settings.admin))
    except ConfigurationError:
        for door in opened:
            door.close()
        raise
    bound, http, admin = opened
    return Doors(listener, bound, http, admin, str(bound.getsockname()[0]), str(admin.getsockname()[0]))


def choose_listener(wanted: Literal["auto", "fast", "grpcio"]) -> Literal["fast", "grpcio"]:
    """What "auto" comes to here: the fast lane where libnghttp2 is, else grpcio with one clear warning."""
    if wanted == "grpcio" or (wanted == "fast" and find_library() is not None):
        return wanted
    if find_library() is not None:
        return "fast"
    reason = _why_missing()
    if wanted == "fast":
        raise ConfigurationError([f"server.listener: expected libnghttp2 for the fast listener, got none. {reason}"])
    log.warning("serving through grpcio, which costs far more per call than the fast lane: %s", reason)
    return "grpcio"


def _why_missing() -> str:
    try:
        load_library()
    except LibraryMissing as error:
        return str(error)
    return "it was found a moment ago and is gone"
