"""Addresses as people write them, "host:port": taken apart, put together, and whether others can reach them. Pure."""

from __future__ import annotations

import ipaddress
from typing import Final

ADDRESS_ALLOWED: Final = "host:port, port 0 to 65535"
LOOPBACK_NAMES: Final = ("localhost", "ip6-localhost")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port". An IPv6 host is written in brackets: "[::1]:8001"."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"expected {ADDRESS_ALLOWED}, got {address!r}")
    bracketed = host.startswith("[") and host.endswith("]")
    if ":" in host and not bracketed:
        raise ValueError(f"expected {ADDRESS_ALLOWED}, got {address!r}. Write an IPv6 host in brackets, as [::1]:8001")
    return (host[1:-1] if bracketed else host), int(port)


def join_address(host: str, port: int) -> str:
    """The opposite of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """True where only this machine can reach the host. Names other than localhost are not looked up: False."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
