"""Request headers, slowly: by regular expressions, from "gRPC over HTTP/2", Requests."""

from __future__ import annotations

import re
from collections.abc import Sequence

BAD_TIMEOUT = -7
NO_METHOD = -8

_UNIT_NS = {b"H": 3600 * 10**9, b"M": 60 * 10**9, b"S": 10**9, b"m": 10**6, b"u": 10**3, b"n": 1}


def timeout_ns(value: bytes) -> int:
    matched = re.fullmatch(rb"([0-9]{1,8})([HMSmun])", value)
    if matched is None:
        return BAD_TIMEOUT
    return min(int(matched[1]) * _UNIT_NS[matched[2]], 2**63 - 1)


def content_type_ok(value: bytes) -> bool:
    return re.fullmatch(rb"application/grpc([+;].*)?", value, re.DOTALL) is not None


def method_of(path: bytes, paths: Sequence[str]) -> int:
    return next((index for index, known in enumerate(paths) if known.encode() == path), NO_METHOD)
