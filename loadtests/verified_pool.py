"""A pool of requests whose right answers are known: random rows, and what bare ONNX Runtime makes of them.

Used by load profiles, which check every reply against it. Pure; no locust in here.
Always: the same seed and model give the same pool; every expected output is what one `InferenceSession.run` returned.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1

RTOL, ATOL = 1e-5, 1e-6
FREE_SIZE = 3  # of a free dimension that does not count rows
INTEGERS_MAX = 10
COUNTS_SCALE = 20.0

# ONNX Runtime's name of an element type: datatype of the protocol, numpy dtype. Strings cannot be made up at random.
ELEMENT_TYPES: Mapping[str, tuple[str, np.dtype]] = {
    "tensor(bool)": ("BOOL", np.dtype(np.bool_)),
    "tensor(uint8)": ("UINT8", np.dtype(np.uint8)),
    "tensor(uint16)": ("UINT16", np.dtype(np.uint16)),
    "tensor(uint32)": ("UINT32", np.dtype(np.uint32)),
    "tensor(uint64)": ("UINT64", np.dtype(np.uint64)),
    "tensor(int8)": ("INT8", np.dtype(np.int8)),
    "tensor(int16)": ("INT16", np.dtype(np.int16)),
    "tensor(int32)": ("INT32", np.dtype(np.int32)),
    "tensor(int64)": ("INT64", np.dtype(np.int64)),
    "tensor(float16)": ("FP16", np.dtype(np.float16)),
    "tensor(float)": ("FP32", np.dtype(np.float32)),
    "tensor(double)": ("FP64", np.dtype(np.float64)),
}
_DTYPES = dict(ELEMENT_TYPES.values())

Floats = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
"""Makes up numbers of the sizes given."""


class WrongAnswer(Exception):
    """A reply that is not what bare ONNX Runtime answers to the same rows."""


@dataclass(frozen=True)
class Case:
    """One request in both services' words, and its right outputs by name."""

    predict: v1.PredictRequest
    infer: oip.ModelInferRequest
    expected: Mapping[str, np.ndarray]

    def check_predict(self, reply: v1.PredictReply) -> None:
        """Raises WrongAnswer unless `reply` holds the right outputs, shapes and dtypes."""
        self._check(
            (tensor.name, _array(tensor.datatype, tensor.shape, tensor.raw, tensor.bytes_values))
            for tensor in reply.outputs
        )

    def check_infer(self, reply: oip.ModelInferResponse) -> None:
        """Raises WrongAnswer unless `reply` holds the right outputs, shapes and dtypes, as raw contents."""
        if len(reply.outputs) != len(reply.raw_output_contents):
            raise WrongAnswer(f"{len(reply.outputs)} outputs, but {len(reply.raw_output_contents)} raw contents")
        contents = zip(reply.outputs, reply.raw_output_contents, strict=True)
        self._check(
            (tensor.name, _array(tensor.datatype, tensor.shape, raw, _raw_elements(tensor.datatype, raw)))
            for tensor, raw in contents
        )

    def _check(self, outputs: Iterable[tuple[str, np.ndarray]]) -> None:
        got = dict(outputs)
        if got.keys() != self.expected.keys():
            raise WrongAnswer(f"expected outputs {sorted(self.expected)}, got {sorted(got)}")
        for name, right in self.expected.items():
            found = got[name]
            if found.dtype != right.dtype or found.shape != right.shape:
                raise WrongAnswer(f"{name}: expected {right.dtype}{right.shape}, got {found.dtype}{found.shape}")
            exact = right.dtype.kind != "f"
            if not (np.array_equal(found, right) if exact else np.allclose(found, right, RTOL, ATOL, equal_nan=True)):
                raise WrongAnswer(f"{name}: not what ONNX Runtime answers to the same rows")


def verified_pool(
    model: str,
    model_bytes: bytes,
    *,
    cases: int,
    rows_max: int,
    seed: int,
    scale: float | None = None,
    counts: bool | None = None,
    rows_min: int = 1,
) -> list[Case]:
    """`cases` requests of `rows_min` to `rows_max` random rows for the ONNX model served as `model`.

    scale: standard deviation of random floats, as many below zero as above. counts: whole numbers from 0 on instead,
    most of them below 40. Where neither is given trees get counts, and others floats of scale 1, beyond which a neural
    network would saturate. Raises ValueError, naming input or output, where a model has inputs that cannot be made up
    or outputs that are no tensors.
    """
    if counts is None:
        counts = scale is None and is_of_trees(model_bytes)
    made = _counts if counts else _floats(1.0 if scale is None else scale)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model_bytes, options)
    random = np.random.default_rng(seed)
    feeds = (
        _random_feed(session, int(random.integers(rows_min, rows_max + 1)), random, made) for _ in range(cases)
    )
    return [case_of(model, session, feed) for feed in feeds]


def is_of_trees(model_bytes: bytes) -> bool:
    """Their thresholds lie among counts and codes. Of a graph that knows its codes, fractions all have one answer."""
    return b"TreeEnsemble" in model_bytes


def case_of(model: str, session: ort.InferenceSession, feed: Mapping[str, np.ndarray]) -> Case:
    """The request of these inputs by name, of the declared types, and what the session answers to them."""
    predict, infer = v1.PredictRequest(model=model), oip.ModelInferRequest(model_name=model)
    for declared in session.get_inputs():
        datatype, dtype = ELEMENT_TYPES[declared.type]
        values = feed[declared.name]
        raw = values.astype(dtype.newbyteorder("<"), copy=False).tobytes()
        predict.inputs.add(name=declared.name, datatype=datatype, shape=values.shape, raw=raw)
        infer.inputs.add(name=declared.name, datatype=datatype, shape=values.shape)
        infer.raw_input_contents.append(raw)
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(names, feed), strict=True))
    for name, output in expected.items():
        if not isinstance(output, np.ndarray):
            raise ValueError(
                f"output {name!r}: expected a tensor, got a {type(output).__name__}. `roost bundle` mends it."
            )
    return Case(predict, infer, expected)


def _random_feed(
    session: ort.InferenceSession, rows: int, random: np.random.Generator, made: Floats
) -> dict[str, np.ndarray]:
    feed = {}
    for declared in session.get_inputs():
        if declared.type not in ELEMENT_TYPES:
            raise ValueError(f"input {declared.name!r}: expected a numeric type, got {declared.type}.")
        _, dtype = ELEMENT_TYPES[declared.type]
        feed[declared.name] = _random_values(_sizes(declared.shape, rows), dtype, random, made)
    return feed


def _sizes(shape: Sequence[int | str | None], rows: int) -> tuple[int, ...]:
    """Sizes for a declared shape: `rows` for a free first dimension, FREE_SIZE for other free ones."""
    free = (rows, *[FREE_SIZE] * len(shape))
    return tuple(size if isinstance(size, int) else free[axis] for axis, size in enumerate(shape))


def _floats(scale: float) -> Floats:
    return lambda random, sizes: random.standard_normal(sizes) * scale


def _counts(random: np.random.Generator, sizes: tuple[int, ...]) -> np.ndarray:
    return np.abs(np.rint(random.standard_normal(sizes) * COUNTS_SCALE))


def _random_values(sizes: tuple[int, ...], dtype: np.dtype, random: np.random.Generator, made: Floats) -> np.ndarray:
    if dtype.kind == "f":
        return np.asarray(made(random, sizes)).astype(dtype)
    return np.asarray(random.integers(0, 2 if dtype.kind == "b" else INTEGERS_MAX, sizes)).astype(dtype)


def _array(datatype: str, shape: Sequence[int], raw: bytes, elements: Sequence[bytes]) -> np.ndarray:
    if datatype == "BYTES":
        texts = np.array([element.decode() for element in elements], dtype=object)
        return _shaped(texts, shape)
    dtype = _DTYPES.get(datatype)
    if dtype is None or len(raw) % dtype.itemsize:
        raise WrongAnswer(f"{len(raw)} bytes of datatype {datatype!r}")
    return _shaped(np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype), shape)


def _shaped(flat: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if flat.size != np.prod(shape, dtype=np.int64):
        raise WrongAnswer(f"{flat.size} elements for the shape {list(shape)}")
    return flat.reshape(shape)


def _raw_elements(datatype: str, raw: bytes) -> list[bytes]:
    """Elements of raw BYTES contents: each one's length as little-endian uint32, then its bytes."""
    elements, position = [], 0
    while datatype == "BYTES" and position < len(raw):
        if len(raw) - position < 4:
            raise WrongAnswer(f"a BYTES element's length is cut at byte {position} of {len(raw)}")
        (length,) = struct.unpack_from("<I", raw, position)
        if length > len(raw) - position - 4:
            raise WrongAnswer(f"a BYTES element of {length} bytes at byte {position} of {len(raw)}")
        elements.append(raw[position + 4 : position + 4 + length])
        position += 4 + length
    return elements
