"""Rows of the kernels that know no model: frames, headers, varints, fields and single elements."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from native.wire import contents, elements, fields, frames, metadata
from native.wire.codes import HAND_OVER
from native.wire.datatypes import DATATYPES
from native.wire.directory import WireTensor
from protos.inference import grpc_service_pb2 as inference
from tests.oracles import frames as slow_frames
from tests.oracles import metadata as slow_metadata
from tests.oracles.messages import CONTENTS
from tests.oracles.varints import read_varint, signed, tag, varint, varints_of
from tests.wire import traffic
from tests.wire.row import (
    Array,
    OrHandedOver,
    Row,
    array,
    cut,
    span,
    written,
)

# Frames and headers.


def _frame(random: Random) -> bytes:
    message = random.randbytes(random.randrange(9))
    flag = random.choice((0, 0, 0, 1, 2, 255))
    claimed = random.choice((len(message), len(message), len(message) + 1, 0, 2**31, 2**32 - 1))
    body = struct.pack(">BI", flag, claimed) + message
    return random.choice((body, body, body[: random.randrange(len(body) + 1)], body + random.randbytes(3)))


def _timeout(random: Random) -> bytes:
    digits = "".join(random.choice("0129") for _ in range(random.choice((0, 1, 2, 7, 8, 8, 9))))
    text = digits + random.choice(("H", "M", "S", "m", "u", "n", "h", "", "s"))
    return (random.choice(("", "", "", "", "-", "+", " ")) + text).encode()


PATHS = ("/roost.v1.Prediction/Predict", "/inference.GRPCInferenceService/ModelInfer", "/grpc.health.v1.Health/Check")
SPANS, PATH_TEXT = metadata.method_table(PATHS)


def _path(random: Random) -> bytes:
    path = random.choice(PATHS).encode()
    return random.choice((path, path, path + b"/", path[:-1], b"", path.upper(), path[:5] + b"\xff" + path[6:]))


def _content_type(random: Random) -> bytes:
    known = b"application/grpc"
    return known[: random.choice((16, 16, 16, 15))] + random.choice((b"", b"+proto", b";a=b", b"-web", b" ", b"x"))


# Varints and fields.

INTERESTING = (0, 1, 127, 128, 300, 2**28, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**35, 2**63 - 1, 2**63, 2**64 - 1)


def random_varint(random: Random) -> bytes:
    content = varint(random.choice(INTERESTING), random.choice((0, 0, 0, 1, 3, 8)))
    return random.choice((content, content, content[:-1], b"\xff" * random.randrange(12)))


def _small_varint(message: Array, position: int, end: int) -> tuple[int, int] | int:
    content = cut(message, position, end)
    found = read_varint(content)
    if found is None or found[1] > 5 or found[0] > 2**31 - 1:
        return HAND_OVER
    return found[0], position + found[1]


def _wide_varint(message: Array, position: int, end: int) -> tuple[int, int] | int:
    found = read_varint(cut(message, position, end))
    return HAND_OVER if found is None else (signed(found[0], 64), position + found[1])


def _field(random: Random) -> tuple[Array, int, int, int]:
    content = random.choice((random_varint(random), random.randbytes(random.randrange(10)), varint(4) + b"abcde"))
    return *span(random, content), random.choice((8, 9, 10, 13, 11, 12, 14, 15, 0, 2, 8000 << 3 | 2))


def _skip_field(message: Array, position: int, end: int, field_tag: int) -> int | OrHandedOver:
    """By google.protobuf: the shortest prefix that it reads as this one field, of a number no message has."""
    content = cut(message, position, end)
    if field_tag >> 3 == 0 or field_tag & 7 in (3, 4, 6, 7):
        return HAND_OVER
    for length in range(len(content) + 1):
        try:
            inference.ServerLiveRequest.FromString(tag(field_tag >> 3, field_tag & 7) + content[:length])
        except DecodeError:
            continue
        return OrHandedOver(position + length)
    return HAND_OVER


# Typed contents.

TYPED_INTEGERS = [code for code in traffic.TYPED if DATATYPES[code].numpy_dtype.kind in "iub"]


def _value_arguments(random: Random) -> tuple[int, int]:
    return signed(random.choice((*INTERESTING, -1, -128, -129, 255, 256, 2**32 + 1)), 64), random.choice(TYPED_INTEGERS)


def varint_value(bits: int, datatype: int) -> int:
    """By google.protobuf: what the field of typed contents reads from this varint."""
    field_name = CONTENTS[DATATYPES[datatype].name]
    number = inference.InferTensorContents.DESCRIPTOR.fields_by_name[field_name].number
    read = inference.InferTensorContents.FromString(tag(number, 2) + varint(len(varint(bits))) + varint(bits))
    return signed(int(getattr(read, field_name)[0]), 64)


def _fits_arguments(random: Random) -> tuple[int, int]:
    datatype = random.choice(TYPED_INTEGERS)
    return varint_value(
        signed(random.choice((*INTERESTING, -1, -128, -129, 255, 256, 32768, 65536)), 64), datatype
    ), datatype


def _fits(value: int, datatype: int) -> bool:
    dtype = DATATYPES[datatype].numpy_dtype
    if dtype.kind == "b" or dtype.itemsize == 8:
        return True  # nothing is narrower than its field
    return bool(np.iinfo(dtype).min <= value <= np.iinfo(dtype).max)


def _varints_arguments(random: Random) -> tuple[Any, ...]:
    count = random.randrange(5)
    values = [random.choice((0, 1, -1, 127, 128, -129, 300, 2**31)) for _ in range(count)]
    content = b"".join(map(varint, values))
    if random.random() < 0.2:
        content = content[:-1]
    return *span(random, content), random.choice(TYPED_INTEGERS), random.choice((count, count, count, count + 1, 0))


def _varints_ok(message: Array, position: int, end: int, datatype: int, count: int) -> bool:
    try:
        bits = [signed(value, 64) for value in varints_of(cut(message, position, end))]
    except ValueError:
        return False
    return len(bits) == count and all(_fits(varint_value(each, datatype), datatype) for each in bits)


def _bytes_equal_arguments(random: Random) -> tuple[Any, ...]:
    left, right = random.choice(((b"same", b"same"), (b"same", b"sane"), (b"", b"")))
    first, second = span(random, left), span(random, right)
    return first[0], first[1], second[0], second[1], len(left)


def _ascii_arguments(random: Random) -> tuple[Any, ...]:
    content, start, end = span(random, random.choice((b"", b"plain\0\x7f", "ü".encode(), b"a\x80", b"\1\0\1")))
    return content, start, end - start


def _out_varint(random: Random) -> tuple[Array, int, int]:
    return np.full(16, 0xA5, dtype=np.uint8), random.randrange(4), signed(random.choice((*INTERESTING, -1, -5)), 64)


def _element_arguments(random: Random) -> tuple[Any, ...]:
    code = random.choice(TYPED_INTEGERS)
    values = traffic.elements(random, WireTensor("x", code, (-1, 1)), 1)
    block, start, _end = span(random, values.tobytes())
    return block, start, code, values.itemsize


def _element(block: Array, offset: int, code: int, width: int) -> int:
    value = np.frombuffer(cut(block, offset, offset + width), DATATYPES[code].numpy_dtype)[0]
    return signed(int(value), 64)


def _at_span(oracle: Callable[..., Any]) -> Callable[..., Any]:
    """An oracle over bytes, called with (array, start, end, ...)."""
    return lambda content, start, end, *rest: oracle(cut(content, start, end), *rest)


def _typical_body() -> tuple[Any, ...]:
    return array(struct.pack(">BI", 0, 200) + bytes(200)), 0, 205, 4_194_304


LEAF_ROWS = (
    Row(frames.frame_flag, lambda random: span(random, _frame(random)), _at_span(slow_frames.frame_flag)),
    Row(
        frames.frame_length,
        lambda random: (*span(random, _frame(random)), random.choice((0, 7, 8, 2**32 - 2))),
        _at_span(slow_frames.frame_length),
    ),
    Row(
        frames.unary_state,
        lambda random: (*span(random, _frame(random)), random.choice((7, 8, 2**32 - 2))),
        _at_span(slow_frames.unary_state),
        typical=_typical_body,
    ),
    Row(
        metadata.timeout_ns,
        lambda random: span(random, _timeout(random)),
        _at_span(slow_metadata.timeout_ns),
        typical=lambda: (array(b"1000m"), 0, 5),
    ),
    Row(
        metadata.content_type_ok,
        lambda random: span(random, _content_type(random)),
        _at_span(slow_metadata.content_type_ok),
        typical=lambda: (array(b"application/grpc"), 0, 16),
    ),
    Row(
        metadata.method_of,
        lambda random: (*span(random, _path(random)), SPANS, PATH_TEXT),
        lambda path, start, end, *_table: slow_metadata.method_of(cut(path, start, end), PATHS),
        typical=lambda: (array(PATHS[1].encode()), 0, len(PATHS[1]), SPANS, PATH_TEXT),
    ),
    Row(
        fields.small_varint,
        lambda random: span(random, random_varint(random)),
        _small_varint,
        lambda result, _arguments: HAND_OVER if result[0] == HAND_OVER else result,
    ),
    Row(
        fields.wide_varint,
        lambda random: span(random, random_varint(random)),
        _wide_varint,
        lambda result, _arguments: HAND_OVER if result[1] == HAND_OVER else result,
    ),
    Row(fields.skip_field, _field, _skip_field),
    Row(
        fields.bytes_equal,
        _bytes_equal_arguments,
        lambda left, at, right, other, count: cut(left, at, at + count) == cut(right, other, other + count),
    ),
    Row(fields.ascii_only, _ascii_arguments, lambda content, at, count: cut(content, at, at + count).isascii()),
    Row(fields.bools_ok, _ascii_arguments, lambda content, at, count: set(cut(content, at, at + count)) <= {0, 1}),
    Row(contents.element_value, _value_arguments, varint_value),
    Row(contents.element_fits, _fits_arguments, _fits),
    Row(contents.varints_ok, _varints_arguments, _varints_ok),
    Row(elements.varint_bytes, lambda random: _out_varint(random)[2:], lambda bits: len(varint(bits))),
    Row(
        elements.write_varint,
        _out_varint,
        lambda out, at, bits: written(out, at, len(out), varint(bits)),
        lambda result, arguments: (result, arguments[0].tobytes()),
    ),
    Row(elements.element_at, _element_arguments, _element),
)
