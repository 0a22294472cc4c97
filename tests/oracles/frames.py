"""gRPC frames, slowly: by `struct`, from "gRPC over HTTP/2", Length-Prefixed-Message."""

from __future__ import annotations

import struct

NAMES = {"need more": -1, "too long": -2, "bad flag": -3, "no message": -4, "cut short": -5, "tail": -6}


def frame_flag(body: bytes) -> int:
    if not body:
        return NAMES["need more"]
    return body[0] if body[0] in (0, 1) else NAMES["bad flag"]


def frame_length(body: bytes, message_bytes_max: int) -> int:
    if len(body) < 5:
        return NAMES["need more"]
    (length,) = struct.unpack(">xI", body[:5])
    return length if length <= message_bytes_max else NAMES["too long"]


def unary_state(body: bytes, message_bytes_max: int) -> int:
    if not body:
        return NAMES["no message"]
    if body[0] not in (0, 1):
        return NAMES["bad flag"]
    if len(body) < 5:
        return NAMES["cut short"]
    flag, length = struct.unpack(">BI", body[:5])
    if length > message_bytes_max:
        return NAMES["too long"]
    message = body[5 : 5 + length]
    if len(message) < length:
        return NAMES["cut short"]
    return flag if body == body[:5] + message else NAMES["tail"]
