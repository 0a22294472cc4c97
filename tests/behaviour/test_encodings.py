"""Protobuf as others may write it: unknown fields, any field order, repeated fields, odd varints.

Written by hand, since the generated classes write one form only.
"""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest

from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2
from tests.behaviour.conftest import Served
from tests.behaviour.messages import (
    MODEL_INFER,
    PREDICT,
    UNKNOWN_FIELDS,
    delimited,
    infer_request,
    predict_request,
    tag,
    varint,
)

ROW = np.random.default_rng(5).standard_normal((1, 32)).astype(np.float32)
PACKED_SHAPE = delimited(3, varint(1) + varint(32))
LOOSE_SHAPE = tag(3, 0) + varint(1) + tag(3, 0) + varint(32)


def predict_fields(shape: bytes = PACKED_SHAPE) -> list[bytes]:
    tensor = [delimited(1, "features"), delimited(2, "FP32"), shape, delimited(4, ROW.tobytes())]
    return [delimited(1, "mlp"), delimited(3, "key"), delimited(4, b"".join(tensor))]


def infer_fields(shape: bytes = PACKED_SHAPE) -> list[bytes]:
    tensor = delimited(1, "features") + delimited(2, "FP32") + shape
    return [delimited(1, "mlp"), delimited(3, "id-1"), delimited(5, tensor), delimited(7, ROW.tobytes())]


@pytest.fixture
def predicted(served: Served) -> bytes:
    return served.call(PREDICT, predict_request("mlp", {"features": ROW}).SerializeToString())


@pytest.fixture
def inferred(served: Served) -> bytes:
    return served.call(MODEL_INFER, infer_request("mlp", {"features": ROW}, id="id-1").SerializeToString())


def test_fields_may_come_in_any_order(served: Served, predicted: bytes, inferred: bytes) -> None:
    for fields in itertools.permutations(predict_fields()):
        assert served.call(PREDICT, b"".join(fields)) == predicted
    for fields in itertools.permutations(infer_fields()):
        assert served.call(MODEL_INFER, b"".join(fields)) == inferred


def test_fields_of_a_tensor_may_come_in_any_order(served: Served, predicted: bytes) -> None:
    tensor = [delimited(1, "features"), delimited(2, "FP32"), PACKED_SHAPE, delimited(4, ROW.tobytes())]
    for fields in itertools.permutations(tensor):
        assert served.call(PREDICT, delimited(1, "mlp") + delimited(4, b"".join(fields))) == predicted


@pytest.mark.parametrize("unknown", UNKNOWN_FIELDS, ids=["varint", "fixed64", "delimited", "group", "fixed32"])
def test_unknown_fields_are_skipped_wherever_they_stand(
    served: Served, predicted: bytes, inferred: bytes, unknown: bytes
) -> None:
    for path, fields, expected in (
        (PREDICT, predict_fields(), predicted),
        (MODEL_INFER, infer_fields(), inferred),
    ):
        for position in range(len(fields) + 1):
            assert served.call(path, b"".join([*fields[:position], unknown, *fields[position:]])) == expected
    tensor = delimited(1, "features") + unknown + delimited(2, "FP32") + PACKED_SHAPE + delimited(4, ROW.tobytes())
    assert served.call(PREDICT, delimited(1, "mlp") + delimited(4, tensor + unknown)) == predicted


def test_a_shape_may_be_packed_or_not(served: Served, predicted: bytes, inferred: bytes) -> None:
    assert served.call(PREDICT, b"".join(predict_fields(LOOSE_SHAPE))) == predicted
    assert served.call(MODEL_INFER, b"".join(infer_fields(LOOSE_SHAPE))) == inferred
    mixed = tag(3, 0) + varint(1) + delimited(3, varint(32))
    assert served.call(PREDICT, b"".join(predict_fields(mixed))) == predicted


def test_the_last_of_a_field_that_comes_twice_counts(served: Served, predicted: bytes) -> None:
    message = delimited(1, "nobody") + b"".join(predict_fields())
    assert served.call(PREDICT, message) == predicted


def test_a_varint_may_be_longer_than_it_needs(served: Served, predicted: bytes) -> None:
    long_one = b"\x81\x80\x80\x80\x00"
    assert served.call(PREDICT, b"".join(predict_fields(delimited(3, long_one + varint(32))))) == predicted


def test_typed_floats_may_be_packed_or_not(served: Served) -> None:
    typed = served.call(MODEL_INFER, infer_request("mlp", {"features": ROW}, raw=False).SerializeToString())
    loose = b"".join(tag(6, 5) + struct.pack("<f", value) for value in ROW[0])
    halves = delimited(6, ROW[0, :16].tobytes()) + delimited(6, ROW[0, 16:].tobytes())
    for contents in (delimited(6, ROW.tobytes()), loose, halves):
        tensor = delimited(1, "features") + delimited(2, "FP32") + PACKED_SHAPE + delimited(5, contents)
        assert served.call(MODEL_INFER, delimited(1, "mlp") + delimited(5, tensor)) == typed


def test_contents_that_come_twice_are_merged_as_protobuf_has_it(served: Served) -> None:
    typed = served.call(MODEL_INFER, infer_request("mlp", {"features": ROW}, raw=False).SerializeToString())
    twice = delimited(5, delimited(6, ROW[0, :8].tobytes())) + delimited(5, delimited(6, ROW[0, 8:].tobytes()))
    tensor = delimited(1, "features") + delimited(2, "FP32") + PACKED_SHAPE + twice
    assert served.call(MODEL_INFER, delimited(1, "mlp") + delimited(5, tensor)) == typed


def test_replies_are_canonical_protobuf(predicted: bytes, inferred: bytes) -> None:
    for message_type, reply in ((predict_pb2.PredictReply, predicted), (inference.ModelInferResponse, inferred)):
        assert message_type.FromString(reply).SerializeToString(deterministic=True) == reply
