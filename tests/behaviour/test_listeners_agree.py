"""One answer either way: the same request bytes, sent to both listeners, get the same status, message and reply bytes.

The seed is printed with every failure; a message that differs is shown in hex.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc
import numpy as np
import pytest

from tests.behaviour.conftest import Served
from tests.behaviour.messages import (
    MODEL_INFER,
    PREDICT,
    UNKNOWN_FIELDS,
    delimited,
    infer_request,
    packed,
    predict_request,
    tag,
    varint,
)
from tests.behaviour.served_models import DATATYPES, echo_name
from tests.behaviour.test_bad_input import CASES as BAD_INPUT
from tests.behaviour.test_models import CASES as MODELS
from tests.behaviour.worker_process import LISTENERS

pytestmark = pytest.mark.skipif(len(LISTENERS) < 2, reason="there is one listener only")

SEED = 20260101
MUTANTS = 1500
IN_FLIGHT = 50

Message = tuple[str, bytes]
Answer = tuple[grpc.StatusCode, str, bytes]


def answers(served: Served, messages: list[Message]) -> list[Answer]:
    """Every message's answer, many of them in flight at once."""
    every: list[Answer] = []
    for start in range(0, len(messages), IN_FLIGHT):
        calls = [
            served.channel.unary_unary(path).future(message, timeout=30)
            for path, message in messages[start : start + IN_FLIGHT]
        ]
        every += [
            (call.code(), call.details() or "", call.result() if call.code() is grpc.StatusCode.OK else b"")
            for call in calls
        ]
    return every


def assert_alike(workers: Mapping[str, Served], messages: list[Message], labels: list[str]) -> None:
    by_listener = {listener: answers(workers[listener], messages) for listener in LISTENERS}
    reference = by_listener["grpcio"]
    for listener, every in by_listener.items():
        for label, (path, message), expected, got in zip(labels, messages, reference, every, strict=True):
            assert got == expected, f"{label} ({listener}, seed {SEED}): {path} {message.hex()}"


def good_messages() -> Iterator[tuple[str, Message]]:
    """Requests that are in order, of every model, datatype and form."""
    for case, (model, inputs) in MODELS.items():
        yield case, (PREDICT, predict_request(model, inputs).SerializeToString())
        yield case, (MODEL_INFER, infer_request(model, inputs, id="id-1").SerializeToString())
        yield case, (MODEL_INFER, infer_request(model, inputs, raw=False).SerializeToString())
    for datatype, (_, values) in DATATYPES.items():
        inputs = {"x": values.reshape(2, 2)}
        model, datatypes = echo_name(datatype), {"x": datatype}
        yield datatype, (PREDICT, predict_request(model, inputs, datatypes=datatypes).SerializeToString())
        yield datatype, (MODEL_INFER, infer_request(model, inputs, datatypes=datatypes).SerializeToString())
        if datatype not in ("FP16", "BF16"):
            yield datatype, (MODEL_INFER, infer_request(model, inputs, raw=False).SerializeToString())
    mixed = {"a": np.ones((2, 3), np.float32), "b": np.array([[1], [2]])}
    for outputs in (["next"], ["sum", "next"], ["next", "sum"], ["sum", "product", "next"]):
        yield f"outputs {outputs}", (PREDICT, predict_request("mixed", mixed, outputs=outputs).SerializeToString())
        yield f"outputs {outputs}", (MODEL_INFER, infer_request("mixed", mixed, outputs=outputs).SerializeToString())
    row = {"features": np.ones((1, 32), np.float32)}
    for request_id in ("a", "x" * 64, "x" * 65, "\u00e9", "x" * 3000):
        yield f"id {request_id[:5]}", (MODEL_INFER, infer_request("mlp", row, id=request_id).SerializeToString())
    for key in ("a", "\u00e9", "x" * 3000):
        yield "routing key", (PREDICT, predict_request("mlp", row, routing_key=key).SerializeToString())
    for version in ("0", "00", "1"):
        yield f"version {version}", (PREDICT, predict_request("mlp", row, version=version).SerializeToString())
        yield f"version {version}", (
            MODEL_INFER, infer_request("mlp", row, model_version=version).SerializeToString(),
        )  # fmt: skip


def odd_messages() -> Iterator[tuple[str, Message]]:
    """Protobuf that no generated class writes, most of it in order."""
    row = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 32)
    head = delimited(1, "features") + delimited(2, "FP32")
    shapes = {
        "packed": delimited(3, varint(1) + varint(32)),
        "loose": tag(3, 0) + varint(1) + tag(3, 0) + varint(32),
        "mixed": tag(3, 0) + varint(1) + delimited(3, varint(32)),
        "in two packs": delimited(3, varint(1)) + delimited(3, varint(32)),
        "empty": b"",
        "an empty pack": delimited(3, b""),
        "long varints": delimited(3, b"\x81\x80\x80\x00" + b"\xa0\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
        "an overlong varint": delimited(3, varint(1) + b"\xa0" + b"\x80" * 10 + b"\x00"),
        "a varint cut short": delimited(3, varint(1) + b"\xa0"),
        "fixed width": tag(3, 5) + bytes([1, 0, 0, 0]) + tag(3, 5) + bytes([32, 0, 0, 0]),
    }
    for label, shape in shapes.items():
        tensor = head + shape
        yield label, (PREDICT, delimited(1, "mlp") + delimited(4, tensor + delimited(4, packed(row))))
        yield label, (MODEL_INFER, delimited(1, "mlp") + delimited(5, tensor) + delimited(7, packed(row)))
    tensor = head + shapes["packed"]
    typed = {
        "packed": delimited(6, packed(row)),
        "in two packs": delimited(6, packed(row)[:64]) + delimited(6, packed(row)[64:]),
        "cut in an element": delimited(6, packed(row)[:-1]),
        "loose": b"".join(tag(6, 5) + packed(value) for value in row[0]),
        "unknown beside": delimited(6, packed(row)) + UNKNOWN_FIELDS[2],
    }
    for label, contents in typed.items():
        yield label, (MODEL_INFER, delimited(1, "mlp") + delimited(5, tensor + delimited(5, contents)))
    twice = delimited(5, delimited(6, packed(row)[:64])) + delimited(5, delimited(6, packed(row)[64:]))
    yield "contents twice", (MODEL_INFER, delimited(1, "mlp") + delimited(5, tensor + twice))
    good = delimited(1, "mlp") + delimited(4, tensor + delimited(4, packed(row)))
    for unknown in UNKNOWN_FIELDS:
        yield "unknown", (PREDICT, unknown + good)
        yield "unknown", (PREDICT, good + unknown)
        yield (
            "unknown inside",
            (PREDICT, delimited(1, "mlp") + delimited(4, unknown + tensor + delimited(4, packed(row)))),
        )
    for label, tail in {
        "an end group alone": tag(9, 4), "field 0": b"\x00\x01", "wire type 6": b"\x0e", "wire type 7": b"\x0f",
        "a group without end": tag(9, 3), "a group ended by another": tag(9, 3) + tag(10, 4), "half a tag": b"\x80",
        "a length beyond the end": tag(9, 2) + varint(5) + b"abc", "a huge length": tag(9, 2) + varint(2**63 - 1),
        "a negative length": tag(9, 2) + varint(-1), "another model, last": delimited(1, "mixed"),
        "the model as a varint": tag(1, 0) + varint(7), "an empty version": delimited(2, ""),
        "a key that is not UTF-8": delimited(3, b"\xff"), "a field far off": tag(2**29 - 1, 0) + varint(1),
    }.items():  # fmt: skip
        yield label, (PREDICT, good + tail)
        yield label, (PREDICT, tail + good)


def mutants() -> Iterator[tuple[str, Message]]:
    """Good messages, damaged: bits flipped, cut, spliced, repeated."""
    rng = np.random.default_rng(SEED)
    originals = [message for _, message in (*good_messages(), *odd_messages())]
    for number in range(MUTANTS):
        path, message = originals[int(rng.integers(len(originals)))]
        mutant = bytearray(message)
        kind = ("flip", "cut", "splice", "repeat", "byte")[number % 5]
        at = int(rng.integers(len(mutant) + 1))
        if kind == "flip" and mutant:
            for _ in range(int(rng.integers(1, 4))):
                mutant[int(rng.integers(len(mutant)))] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            del mutant[at:]
        elif kind == "splice":
            _, other = originals[int(rng.integers(len(originals)))]
            mutant[at:at] = other[: int(rng.integers(len(other) + 1))]
        elif kind == "repeat":
            mutant += mutant[at:]
        elif mutant:
            mutant[min(at, len(mutant) - 1)] = int(rng.integers(256))
        yield f"mutant {number} ({kind})", (path, bytes(mutant))


@pytest.mark.parametrize("corpus", [good_messages, odd_messages, mutants])
def test_both_listeners_give_one_answer(workers: dict[str, Served], corpus) -> None:
    labels, messages = zip(*corpus(), strict=True)
    assert_alike(workers, list(messages), list(labels))


def test_both_listeners_refuse_alike(workers: dict[str, Served]) -> None:
    assert_alike(workers, [(path, message) for path, message, *_ in BAD_INPUT.values()], list(BAD_INPUT))


def test_both_listeners_answer_the_other_methods_alike(workers: dict[str, Served]) -> None:
    paths = [
        "/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady",
        "/inference.GRPCInferenceService/ServerMetadata", "/inference.GRPCInferenceService/ModelMetadata",
        "/inference.GRPCInferenceService/ModelReady", "/grpc.health.v1.Health/Check", "/nobody/home", "/",
        "/roost.v1.Prediction/", "/roost.v1.Prediction/Predict2",
    ]  # fmt: skip
    messages = [
        (path, message)
        for path in paths
        for message in (b"", delimited(1, "mlp"), delimited(1, "roost.v1.Prediction"), b"\xff", delimited(1, b"\xff"))
    ]
    assert_alike(workers, messages, [path for path, _ in messages])
