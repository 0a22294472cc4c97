"""The sockets that the parent binds once, so that a restarted child finds the same port again.

Always: a port that somebody listens on is refused, naming the key; port 0 becomes a real port here.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from server.cli.configuration import ConfigurationError
from server.settings import split_address

BACKLOG: Final = 4096  # the kernel caps it at net.core.somaxconn


def listening_socket(key: str, address: str) -> socket.socket:
    """Bound and listening, not blocking, inherited by all processes that accept from it."""
    return _bound(key, address, share_port=False, backlog=BACKLOG)


def held_port(key: str, address: str) -> socket.socket:
    """Bound with SO_REUSEPORT and not listening: it keeps the port for children that bind it themselves.

    SO_REUSEPORT would let a second server share the port of a running one in silence, so that the port is first bound
    without it, which fails where somebody listens.
    """
    if split_address(address)[1] != 0:
        _bound(key, address, share_port=False).close()
    return _bound(key, address, share_port=True)


def port_of(bound: socket.socket) -> int:
    """The real port."""
    return int(bound.getsockname()[1])


def _bound(key: str, address: str, share_port: bool, backlog: int | None = None) -> socket.socket:
    host, port = split_address(address)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(
            [f"{key}: expected a host of this machine, got {address!r}: {error.strerror}."]
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(target)
        if backlog is not None:
            bound.listen(backlog)
    except OSError as error:
        bound.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigurationError(
            [f"{key}: expected a free port, got {address!r}: {reason}. Choose another, or 0 for any that is free."]
        ) from error
    return bound
