"""The sockets that the parent binds once, so that a restarted child finds the same port again.

Always: a port that somebody listens on is refused, naming the key; port 0 becomes a real port here.
"""

from __future__ import annotations

import os
import socket
from typing import Final, TypeVar

from server.addresses import join_address, split_address
from server.cli.configuration import ConfigurationError

BACKLOG: Final = 4096  # the kernel caps it at net.core.somaxconn

AnySocket = TypeVar("AnySocket", bound=socket.socket)


def listening_socket(key: str, address: str) -> socket.socket:
    """Bound and listening, not blocking, inherited by all processes that accept from it."""
    return _bound(key, address, socket.socket, backlog=BACKLOG)


class HeldPort(socket.socket):
    """Keeps a port without listening, and with it the lock that makes the keeper the only one."""

    lock: socket.socket | None = None

    def close(self) -> None:
        super().close()
        if self.lock is not None:
            self.lock.close()


def held_port(key: str, address: str) -> HeldPort:
    """Bound with SO_REUSEPORT and not listening: it keeps the port for children that bind it themselves.

    SO_REUSEPORT would let a second server share the port of a running one in silence. So the port is first bound
    without it, which fails where somebody listens, and also where a server holds its port and its children do not
    listen yet: the held socket lacks SO_REUSEADDR, without which nobody binds beside it. Two servers that start in the
    same moment both come through; of them the lock lets one go on.
    """
    if split_address(address)[1] != 0:
        _bound(key, address, socket.socket).close()
    try:
        held = _bound(key, address, HeldPort, share_port=True, beside_silent=False)
    except ConfigurationError:
        # The first bind has just found the port free, so that these are connections of an ended server (TIME_WAIT).
        held = _bound(key, address, HeldPort, share_port=True)
    held.lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.lock.bind(lock_name(held))
    except OSError as error:
        held.close()
        raise _taken(key, address, error) from error
    return held


def lock_name(held: socket.socket) -> str:
    """An abstract unix address: of the network namespace, as the port is, and gone with the process that bound it."""
    host, port = held.getsockname()[:2]
    return f"\0roost/{join_address(str(host), int(port))}"


def port_of(bound: socket.socket) -> int:
    """The real port."""
    return int(bound.getsockname()[1])


def _bound(
    key: str,
    address: str,
    kind_of: type[AnySocket],
    *,
    share_port: bool = False,
    beside_silent: bool = True,
    backlog: int | None = None,
) -> AnySocket:
    """beside_silent: SO_REUSEADDR, to be bound beside connections of an ended server, and others beside this one."""
    host, port = split_address(address)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigurationError(
            [f"{key}: expected a host of this machine, got {address!r}: {error.strerror}."]
        ) from error
    bound = kind_of(family, kind, protocol)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, beside_silent)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share_port)
        bound.bind(target)
        if backlog is not None:
            bound.listen(backlog)
    except OSError as error:
        bound.close()
        raise _taken(key, address, error) from error
    return bound


def _taken(key: str, address: str, error: OSError) -> ConfigurationError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ConfigurationError(
        [f"{key}: expected a free port, got {address!r}: {reason}. Choose another, or 0 for any that is free."]
    )
