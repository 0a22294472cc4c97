"""An ONNX file without its weights: what is read of a model to know what it takes and gives.

Used by `onnx_model.py`. Parsing a model holds all threads up for as long as copying it takes (60 ms for 100 MB), and a
model may be read beside traffic; almost all of it is weights, which nobody looks at. So they are stepped over here, by
their lengths. Always: a file that is not read to its end without doubt comes back as it is, for the parser to judge;
nothing else changes, and small tensors stay, since shapes may depend on their values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# Tensors up to this size stay. One that says a shape has a few numbers.
KEPT_BYTES_MAX: Final = 4096
DEPTH_MAX: Final = 100  # the parser's own bound on messages in messages

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX: Final = 10


@dataclass(frozen=True, eq=False)
class _Message:
    """weights: fields to leave out, with the bytes of one element; inside: fields that hold messages to look into."""

    weights: dict[int, int] = field(default_factory=dict)
    inside: dict[int, _Message] = field(default_factory=dict)


# Field numbers of onnx.proto. TensorProto: float_data, raw_data, double_data, packed or of any content.
_TENSOR: Final = _Message(weights={4: 4, 9: 1, 10: 8})
_GRAPH: Final = _Message()
_ATTRIBUTE: Final = _Message(inside={5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH})
_NODE: Final = _Message(inside={5: _ATTRIBUTE})
_GRAPH.inside.update({1: _NODE, 5: _TENSOR})
_MODEL: Final = _Message(inside={7: _GRAPH})


class _InDoubt(Exception):
    """These bytes are left to the parser."""


def without_weights(data: bytes) -> bytes:
    """The model's bytes with the contents of its large tensors left out; `data` itself where anything is in doubt."""
    try:
        return _rewritten(data, 0, len(data), _MODEL, 0)
    except _InDoubt:
        return data


def _rewritten(data: bytes, start: int, end: int, message: _Message, depth: int) -> bytes:
    if depth > DEPTH_MAX:
        raise _InDoubt
    pieces, kept_from = [], start
    for number, tag_at, content_at, next_at in _long_fields(data, start, end):
        if number in message.inside:
            inner = _rewritten(data, content_at, next_at, message.inside[number], depth + 1)
            if len(inner) < next_at - content_at:
                pieces += [data[kept_from:tag_at], _varint(number << 3 | _LENGTH), _varint(len(inner)), inner]
                kept_from = next_at
        elif number in message.weights:
            if (next_at - content_at) % message.weights[number]:
                raise _InDoubt
            pieces.append(data[kept_from:tag_at])
            kept_from = next_at
    pieces.append(data[kept_from:end])
    return b"".join(pieces)


def _long_fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Fields longer than KEPT_BYTES_MAX: number, where the tag, the content and the next field begin."""
    position = start
    while position < end:
        tag_at = position
        tag, position = _read_varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        if wire == _LENGTH:
            length, position = _read_varint(data, position, end)
            if length > end - position:
                raise _InDoubt
            if length > KEPT_BYTES_MAX:
                yield number, tag_at, position, position + length
            position += length
        elif wire == _VARINT:
            _, position = _read_varint(data, position, end)
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
            if position > end:
                raise _InDoubt
        else:
            raise _InDoubt


def _read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _InDoubt


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
