"""Random models and the requests that clients send them: plain, freely encoded, and wrong in one respect.

Used by the kernels' table, the fuzzers and the benchmarks. All of it follows from the `Random` that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from native.wire.datatypes import BOOL, BYTES, DATATYPES, FP32
from native.wire.directory import WireModel, WireTensor
from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2 as roost
from tests.oracles.messages import CONTENTS
from tests.oracles.varints import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, length_delimited, read_varint, tag, varint

FIXED_WIDTH = [code for code in DATATYPES if code != BYTES]
TYPED = [code for code in FIXED_WIDTH if DATATYPES[code].name in CONTENTS]


def tensor(random: Random, name: str, codes: Sequence[int]) -> WireTensor:
    dimensions = random.choice(((), (1,), (2,), (3,), (32,), (130,), (2, 3), (1, 5, 1)))
    code = FP32 if random.random() < 0.4 and FP32 in codes else random.choice(codes)
    return WireTensor(name, code, (-1, *dimensions))


def model(random: Random, name: str) -> WireModel:
    codes = TYPED if random.random() < 0.7 else FIXED_WIDTH
    inputs, outputs = random.choice((1, 1, 2, 3, 16)), random.choice((1, 2, 3))
    return WireModel(
        name,
        version=random.choice(("", "1", "17")),
        digest_prefix="0123456789ab",
        variant=random.choice(("stable", "")),
        inputs=tuple(tensor(random, f"in{index}", codes) for index in range(inputs)),
        outputs=tuple(tensor(random, random.choice(("y", "output_")) + str(index), codes) for index in range(outputs)),
        max_rows=random.choice((1, 4, 4, 33)),
    )


def models(random: Random, count: int) -> tuple[WireModel, ...]:
    return tuple(model(random, f"model{index}" + "x" * random.choice((0, 0, 20))) for index in range(count))


def elements(random: Random, declared: WireTensor, rows: int) -> npt.NDArray[Any]:
    """[rows, ...] of the declared type: any bits for raw integers, plain numbers for floats."""
    shape, dtype = (rows, *declared.shape[1:]), declared.kind.numpy_dtype
    count = int(np.prod(shape))
    if declared.datatype == BOOL:
        return np.frombuffer(random.randbytes(count), np.uint8).reshape(shape) % 2 == 1
    if dtype.kind == "f":
        return (np.frombuffer(random.randbytes(count), np.int8).reshape(shape) / 8).astype(dtype)
    content = np.frombuffer(random.randbytes(count * dtype.itemsize), dtype).reshape(shape).copy()
    return content >> random.randrange(8 * dtype.itemsize)


def _names(random: Random, served: WireModel) -> list[str]:
    return [declared.name for declared in served.outputs if random.random() < 0.5]


def predict_request(random: Random, served: WireModel) -> roost.PredictRequest:
    rows = random.randint(1, served.max_rows)
    request = roost.PredictRequest(
        model=served.name,
        version=random.choice(("", served.version)),
        routing_key=random.choice(("", "customer-7")),
        outputs=_names(random, served),
    )
    for declared in random.sample(served.inputs, len(served.inputs)):
        array = elements(random, declared, rows)
        sent = request.inputs.add(name=declared.name, datatype=declared.kind.name, shape=array.shape)
        if declared.datatype == FP32 and random.random() < 0.3:
            sent.float_values.extend(array.ravel().tolist())
        else:
            sent.raw = array.tobytes()
    return request


def infer_request(random: Random, served: WireModel) -> inference.ModelInferRequest:
    rows = random.randint(1, served.max_rows)
    request = inference.ModelInferRequest(
        model_name=served.name,
        model_version=random.choice(("", served.version)),
        id=random.choice(("", "a", "i" * 64)),
    )
    typed = random.random() < 0.5 and all(declared.kind.name in CONTENTS for declared in served.inputs)
    for declared in random.sample(served.inputs, len(served.inputs)):
        array = elements(random, declared, rows)
        sent = request.inputs.add(name=declared.name, datatype=declared.kind.name, shape=array.shape)
        if typed:
            getattr(sent.contents, CONTENTS[declared.kind.name]).extend(array.ravel().tolist())
        else:
            request.raw_input_contents.append(array.tobytes())
    for name in _names(random, served):
        request.outputs.add(name=name)
    return request


def _spoilt_tensor(random: Random, sent: Any) -> None:
    """Makes one thing about a tensor other than declared."""
    spoil: Callable[[], Any] = random.choice(
        (
            lambda: setattr(sent, "name", sent.name + "?"),
            lambda: setattr(sent, "datatype", random.choice(("FP32", "INT8", "BYTES", "fp32", ""))),
            lambda: sent.shape.append(1),
            lambda: sent.shape.pop(),
            lambda: sent.shape.__setitem__(0, random.choice((0, -1, 2, 65, 2**31, 2**63 - 1, -(2**63)))),
            lambda: sent.shape.__setitem__(-1, sent.shape[-1] + 1),
        )
    )
    spoil()


def spoilt_predict(random: Random, request: roost.PredictRequest) -> roost.PredictRequest:
    sent = random.choice(request.inputs)
    spoil: Callable[[], Any] = random.choice(
        (
            lambda: setattr(request, "model", random.choice(("", "nobody", "mödel", request.model + "x"))),
            lambda: setattr(request, "version", random.choice(("2", "1" * 40, "ü"))),
            lambda: setattr(request, "routing_key", "schlüssel"),
            lambda: request.outputs.append(random.choice(("nothing", "y0", "ü"))),
            lambda: request.inputs.append(sent),
            lambda: request.inputs.remove(sent),
            lambda: sent.bytes_values.append(b"?"),
            lambda: setattr(sent, "raw", sent.raw + b"\2"),
            lambda: setattr(sent, "raw", sent.raw[:-1] + b"\2"),
            lambda: sent.float_values.append(1.0),
            lambda: _spoilt_tensor(random, sent),
        )
    )
    spoil()
    return request


def spoilt_infer(random: Random, request: inference.ModelInferRequest) -> inference.ModelInferRequest:
    sent = random.choice(request.inputs)
    raw = request.raw_input_contents
    spoil: Callable[[], Any] = random.choice(
        (
            lambda: setattr(request, "model_name", random.choice(("", "nobody", "mödel", request.model_name + "x"))),
            lambda: setattr(request, "model_version", random.choice(("2", "1" * 40, "ü"))),
            lambda: setattr(request, "id", random.choice(("i" * 65, "ü"))),
            lambda: setattr(request.parameters["priority"], "int64_param", 1),
            lambda: setattr(sent.parameters["shared_memory_offset"], "int64_param", 1),
            lambda: request.outputs.add(name=random.choice(("nothing", "y0", "ü"))).parameters["classification"],
            lambda: request.outputs.add(name="nothing"),
            lambda: request.inputs.append(sent),
            lambda: request.inputs.remove(sent),
            lambda: raw.append(b"\0\0\0\0"),
            lambda: raw.pop() if raw else None,
            lambda: raw.append(raw.pop() + b"\0") if raw else None,
            lambda: raw.append(raw.pop()[:-1] + b"\2") if raw else None,
            lambda: sent.contents.bytes_contents.append(b"?"),
            lambda: sent.contents.int_contents.append(random.choice((-129, 2**31 - 1, 0))),
            lambda: sent.contents.uint_contents.append(random.choice((256, 2**32 - 1, 0))),
            lambda: sent.contents.fp32_contents.append(0.5),
            lambda: _spoilt_tensor(random, sent),
        )
    )
    spoil()
    return request


# Field numbers whose content is a message again, by path of numbers from the top, and those that are packed dimensions.
PREDICT_NESTED = {(4,)}
PREDICT_SHAPES = {(4, 3)}
INFER_NESTED = {(5,), (6,), (5, 5)}
INFER_SHAPES = {(5, 3)}


def freely_encoded(
    random: Random,
    message: bytes,
    nested: set[tuple[int, ...]],
    shapes: set[tuple[int, ...]],
    path: tuple[int, ...] = (),
) -> bytes:
    """The same message as another encoder might write it.

    Fields in any order, each repeated one in its own; unknown fields of every wire type but groups; lengths in more
    bytes than they need; packed dimensions one by one; a singular string first as something else.
    """
    queues: dict[int, list[bytes]] = {}
    position = 0
    while position < len(message):
        header, used = read_varint(message[position:])  # type: ignore[misc]
        number, wire_type = header >> 3, header & 7
        assert wire_type == LENGTH_DELIMITED, "the requests made here have no other fields"
        position += used
        length, used = read_varint(message[position:])  # type: ignore[misc]
        content = message[position + used : position + used + length]
        position += used + length
        here = (*path, number)
        if here in shapes and random.random() < 0.3:
            field = _unpacked(number, content)
        else:
            if here in nested:
                content = freely_encoded(random, content, nested, shapes, here)
            padding = random.choice((0, 0, 0, 1, 2)) if length < 2**20 else 0
            field = tag(number, LENGTH_DELIMITED) + varint(len(content), padding) + content
        queues.setdefault(number, []).append(field)
    if path == () and random.random() < 0.2:
        queues.setdefault(1, []).insert(0, length_delimited(1, b"another"))
    if random.random() < 0.5:
        for _ in range(random.randint(1, 3)):
            queues.setdefault(random.choice((1000, 1001)), []).append(unknown_field(random))
    return b"".join(queues[number].pop(0) for number in random.sample(*_order(queues)))


def _order(queues: dict[int, list[bytes]]) -> tuple[list[int], int]:
    numbers = [number for number, fields in queues.items() for _ in fields]
    return numbers, len(numbers)


def _unpacked(number: int, content: bytes) -> bytes:
    fields = b""
    while content:
        value, used = read_varint(content)  # type: ignore[misc]
        fields += tag(number, VARINT) + varint(value, 1 if value < 2**60 else 0)
        content = content[used:]
    return fields


def unknown_field(random: Random) -> bytes:
    number = random.choice((9, 15, 16, 500, 2**20))
    return random.choice(
        (
            tag(number, VARINT) + varint(random.getrandbits(64)),
            tag(number, FIXED64) + random.randbytes(8),
            tag(number, FIXED32) + random.randbytes(4),
            length_delimited(number, random.randbytes(random.randrange(9))),
        )
    )


def predict_message(random: Random, served: WireModel) -> bytes:
    request = predict_request(random, served)
    chance = random.random()
    if chance < 0.3:
        request = spoilt_predict(random, request)
    message = request.SerializeToString(deterministic=True)
    return freely_encoded(random, message, PREDICT_NESTED, PREDICT_SHAPES) if 0.15 < chance < 0.65 else message


def infer_message(random: Random, served: WireModel) -> bytes:
    request = infer_request(random, served)
    chance = random.random()
    if chance < 0.3:
        request = spoilt_infer(random, request)
    message = request.SerializeToString(deterministic=True)
    return freely_encoded(random, message, INFER_NESTED, INFER_SHAPES) if 0.15 < chance < 0.65 else message


def mutated(random: Random, message: bytes, other: bytes) -> bytes:
    """The message with bits flipped, cut, spliced with another, or with a length that claims too much."""
    content = bytearray(message)
    for _ in range(random.choice((1, 1, 2, 4))):
        if not content:
            break
        at = random.randrange(len(content))
        match random.randrange(6):
            case 0:
                content[at] ^= 1 << random.randrange(8)
            case 1:
                del content[at:]
            case 2:
                content[at:] = other[random.randrange(len(other) + 1) :]
            case 3:
                content[at : at + 1] = varint(random.choice((127, 128, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**64 - 1)))
            case 4:
                content[at : at + 1] = varint(content[at] & 0x7F, random.choice((1, 3, 4, 5, 8, 9)))
            case 5:
                content[at:at] = random.randbytes(random.randrange(6))
    return bytes(content)
