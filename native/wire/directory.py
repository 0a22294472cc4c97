"""The model directory: what readers and writers must know of the served models, as two arrays that kernels can read.

Built in Python whenever the set of served models changes: a new set is a new directory. Of it only the heads of replies
change, where a model's place in the traffic does.
`table` is int64: a header, then fixed-width records of models, inputs and outputs, then dimensions. `blob` is uint8:
names, and those bytes of replies that are the same in each of them, encoded once here instead of once a request.
Always: every offset into the blob and every `_AT` word index into the table lies inside it; a model whose flags lack
KERNEL_OK has no tensor records, and the readers hand its requests over.

The arena's layout is part of it. Input i of a model takes max_rows x row_bytes contiguous bytes at its column offset
in an input block of `input_block_bytes`, outputs likewise in an output block; columns start at multiples of 64.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from native.wire.codes import INPUTS_MAX, OUTPUTS_MAX, VARINT_MAX
from native.wire.datatypes import DATATYPES, NO_CONTENTS, WireDatatype
from native.wire.parsed import DIMENSIONS_MAX

assert sys.byteorder == "little", "raw contents are little-endian and are copied as they are"

COLUMN_ALIGNMENT_BYTES: Final = 64

# The table's header.
MODEL_COUNT: Final = 0
MODELS_AT: Final = 1
HEADER_WORDS: Final = 8

# A model's record. Offsets (_OFFSET, _BYTES) are into the blob, _AT is a word index into the table.
MODEL_NAME_OFFSET: Final = 0
MODEL_NAME_BYTES: Final = 1
MODEL_VERSION_OFFSET: Final = 2
MODEL_VERSION_BYTES: Final = 3
MODEL_INPUTS_AT: Final = 4
MODEL_INPUT_COUNT: Final = 5
MODEL_OUTPUTS_AT: Final = 6
MODEL_OUTPUT_COUNT: Final = 7
MODEL_MAX_ROWS: Final = 8
MODEL_FLAGS: Final = 9
# PredictReply up to its outputs: model, version, digest_prefix, variant.
MODEL_PREDICT_HEAD_OFFSET: Final = 10
MODEL_PREDICT_HEAD_BYTES: Final = 11
# ModelInferResponse before its id (model_name, model_version) and after it (parameters).
MODEL_INFER_HEAD_OFFSET: Final = 12
MODEL_INFER_HEAD_BYTES: Final = 13
MODEL_INFER_PARAMETERS_OFFSET: Final = 14
MODEL_INFER_PARAMETERS_BYTES: Final = 15
MODEL_INPUT_BLOCK_BYTES: Final = 16
MODEL_OUTPUT_BLOCK_BYTES: Final = 17
# Which route it belongs to, and VARIANT_WORDS words for each place in the traffic that it may have: what
# MODEL_PREDICT_HEAD_ and MODEL_INFER_PARAMETERS_ are there.
MODEL_ROUTE: Final = 18
MODEL_VARIANTS_AT: Final = 19
MODEL_WORDS: Final = 20

VARIANTS: Final = ("stable", "canary")
VARIANT_STABLE: Final = 0
VARIANT_CANARY: Final = 1
VARIANT_WORDS: Final = 4
NO_NAME_BYTES: Final = -1  # of a vacant place: as long as no name is

# A model's flags. TYPED_OK: all outputs can be written as typed contents, so typed requests need no servicer.
KERNEL_OK: Final = 1
TYPED_OK: Final = 2

# A tensor's record, input or output.
TENSOR_NAME_OFFSET: Final = 0
TENSOR_NAME_BYTES: Final = 1
TENSOR_DATATYPE: Final = 2
TENSOR_DATATYPE_NAME_OFFSET: Final = 3
TENSOR_DATATYPE_NAME_BYTES: Final = 4
TENSOR_ROW_ELEMENTS: Final = 5
TENSOR_ROW_BYTES: Final = 6
# The dimensions after the first, as words of the table.
TENSOR_DIMENSIONS_AT: Final = 7
TENSOR_DIMENSION_COUNT: Final = 8
TENSOR_COLUMN_OFFSET: Final = 9
# Encoded name and datatype (fields 1 and 2 of both protocols' tensors), and the dimensions after the first as varints.
TENSOR_HEAD_OFFSET: Final = 10
TENSOR_HEAD_BYTES: Final = 11
TENSOR_SHAPE_TAIL_OFFSET: Final = 12
TENSOR_SHAPE_TAIL_BYTES: Final = 13
TENSOR_CONTENTS_FIELD: Final = 14
TENSOR_WORDS: Final = 15


@dataclass(frozen=True)
class WireTensor:
    """A declared input or output. datatype: a code of `native.wire.datatypes`. shape: -1 stands for any size."""

    name: str
    datatype: int
    shape: tuple[int, ...]

    @property
    def kind(self) -> WireDatatype:
        return DATATYPES[self.datatype]

    @property
    def row_elements(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def row_bytes(self) -> int:
        return self.row_elements * self.kind.width_bytes

    @property
    def suits_kernels(self) -> bool:
        """True where rows are free, all else is fixed and no row is empty or too large to count."""
        return (
            1 <= len(self.shape) <= DIMENSIONS_MAX
            and self.shape[0] == -1
            and all(dimension >= 1 for dimension in self.shape[1:])
            and 0 < self.row_bytes <= VARINT_MAX
        )


@dataclass(frozen=True)
class WireModel:
    """A served model. batchable: False hands all its requests to the servicers, as an unsuitable signature does.

    route: which models share its name and its traffic; None is its own index. variant: its place in the traffic first.
    """

    name: str
    version: str
    digest_prefix: str
    variant: str
    inputs: tuple[WireTensor, ...]
    outputs: tuple[WireTensor, ...]
    max_rows: int
    batchable: bool = True
    route: int | None = None

    @property
    def kernel_ok(self) -> bool:
        return (
            self.batchable
            and 1 <= len(self.inputs) <= INPUTS_MAX
            and 1 <= len(self.outputs) <= OUTPUTS_MAX
            and all(tensor.suits_kernels for tensor in self.inputs + self.outputs)
        )

    @property
    def typed_ok(self) -> bool:
        return self.kernel_ok and all(tensor.kind.contents_field != NO_CONTENTS for tensor in self.outputs)


class ModelDirectory:
    """The directory of a set of served models. Indices follow the order of `models`; None is a vacant place.

    Models of one name belong to one route, and have one signature where kernels serve them. The first of them is the
    one that a bare name finds.

    table: int64[:], blob: uint8[:], both read-only by agreement and to be kept alive while kernels may read them.
    """

    def __init__(self, models: Sequence[WireModel | None]) -> None:
        self.places = tuple(models)
        self._index_by_name: dict[str, int] = {}
        served = [(index, model) for index, model in enumerate(self.places) if model is not None]
        for index, model in served:
            first = self._index_by_name.setdefault(model.name, index)
            if self.route_of(first) != self.route_of(index):
                raise ValueError(f"models: expected one route for each name, got two for {model.name}")
        signatures: dict[int, WireModel] = {}
        for index, model in served:
            # Kernels read a request by the first model of a name and run it, or what waits, as another of its route.
            if model.kernel_ok:
                first_read = signatures.setdefault(self.route_of(index), model)
                if (model.inputs, model.outputs) != (first_read.inputs, first_read.outputs):
                    raise ValueError(
                        f"{model.name} {model.version}: inputs and outputs: expected those of version "
                        f"{first_read.version}, in the same order, got others. Deploy it under a name of its own."
                    )
        for _, model in served:
            if not 1 <= model.max_rows <= VARINT_MAX:
                raise ValueError(f"{model.name}: max_rows: expected 1 to {VARINT_MAX}, got {model.max_rows}")
        builder = _Builder(self.places)
        self.table: npt.NDArray[np.int64] = np.array(builder.words, dtype=np.int64)
        self.blob: npt.NDArray[np.uint8] = np.frombuffer(bytes(builder.blob) or b"\0", dtype=np.uint8).copy()

    @property
    def models(self) -> tuple[WireModel, ...]:
        """All that is served, without the vacant places."""
        return tuple(model for model in self.places if model is not None)

    def model(self, index: int) -> WireModel:
        """The model of a place that has one."""
        model = self.places[index]
        assert model is not None, index
        return model

    def route_of(self, index: int) -> int:
        route = self.model(index).route
        return index if route is None else route

    def index_of(self, name: str) -> int | None:
        return self._index_by_name.get(name)

    def model_word(self, model: int, field: int) -> int:
        """One word of a model's record, `field` being a MODEL_ constant."""
        return int(self.table[HEADER_WORDS + model * MODEL_WORDS + field])

    def kernel_ok(self, model: int) -> bool:
        return bool(self.model_word(model, MODEL_FLAGS) & KERNEL_OK)

    def input_block_bytes(self, model: int) -> int:
        return self.model_word(model, MODEL_INPUT_BLOCK_BYTES)

    def output_block_bytes(self, model: int) -> int:
        return self.model_word(model, MODEL_OUTPUT_BLOCK_BYTES)

    def input_columns(self, model: int, block: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], ...]:
        """A [max_rows, ...] view of each input in an input block, in declared order."""
        return self._columns(block, self.model(model).inputs, self.model(model).max_rows, MODEL_INPUTS_AT, model)

    def output_columns(self, model: int, block: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], ...]:
        """A [max_rows, ...] view of each output in an output block, in declared order."""
        return self._columns(block, self.model(model).outputs, self.model(model).max_rows, MODEL_OUTPUTS_AT, model)

    def _columns(
        self, block: npt.NDArray[np.uint8], tensors: tuple[WireTensor, ...], max_rows: int, at: int, model: int
    ) -> tuple[npt.NDArray[Any], ...]:
        if not self.kernel_ok(model):
            raise ValueError(f"{self.model(model).name}: has no arena: its signature or batchability excludes kernels")
        first = self.model_word(model, at)
        views = []
        for index, tensor in enumerate(tensors):
            offset = int(self.table[first + index * TENSOR_WORDS + TENSOR_COLUMN_OFFSET])
            column = block[offset : offset + max_rows * tensor.row_bytes]
            views.append(column.view(tensor.kind.numpy_dtype).reshape(max_rows, *tensor.shape[1:]))
        return tuple(views)


class _Builder:
    """Lays out one directory: words and blob of all models, in one go."""

    def __init__(self, models: tuple[WireModel | None, ...]) -> None:
        self.words = [len(models), HEADER_WORDS, *([0] * (HEADER_WORDS - 2))]
        self.words += [0] * (len(models) * MODEL_WORDS)
        self.blob = bytearray()
        for index, model in enumerate(models):
            record = self._vacant() if model is None else self._model(model, index)
            at = HEADER_WORDS + index * MODEL_WORDS
            self.words[at : at + MODEL_WORDS] = record

    def _bytes(self, content: bytes) -> tuple[int, int]:
        """Appends to the blob; where it went and how long it is."""
        offset = len(self.blob)
        self.blob += content
        return offset, len(content)

    def _vacant(self) -> list[int]:
        record = [0] * MODEL_WORDS
        record[MODEL_NAME_BYTES] = NO_NAME_BYTES
        record[MODEL_ROUTE] = -1
        return record

    def _variant(self, model: WireModel, variant: str) -> list[int]:
        """The parts of replies that name the place in the traffic: VARIANT_WORDS words."""
        names = (model.name, model.version, model.digest_prefix, variant)
        predict_head = b"".join(_field(number, text.encode()) for number, text in enumerate(names, start=1) if text)
        # Map entries in the order of their keys, as a deterministic serialisation has them.
        parameters = b"".join(
            _field(4, _field(1, key) + _field(2, _field(3, value.encode())))
            for key, value in ((b"digest_prefix", model.digest_prefix), (b"variant", variant))
        )
        return [*self._bytes(predict_head), *self._bytes(parameters)]

    def _model(self, model: WireModel, index: int) -> list[int]:
        name, version = model.name.encode(), model.version.encode()
        names = (name, version)
        infer_head = b"".join(_field(number, text) for number, text in enumerate(names, start=1) if text)
        variants_at = len(self.words)
        for variant in VARIANTS:
            self.words += self._variant(model, variant)
        first = self._variant(model, model.variant)
        flags = KERNEL_OK * model.kernel_ok | TYPED_OK * model.typed_ok
        inputs_at, input_block_bytes = self._tensors(model.inputs, model)
        outputs_at, output_block_bytes = self._tensors(model.outputs, model)
        counts = (len(model.inputs), len(model.outputs)) if model.kernel_ok else (0, 0)
        return [
            *self._bytes(name), *self._bytes(version),
            inputs_at, counts[0], outputs_at, counts[1],
            model.max_rows, flags,
            *first[:2], *self._bytes(infer_head), *first[2:],
            input_block_bytes, output_block_bytes,
            index if model.route is None else model.route, variants_at,
        ]  # fmt: skip

    def _tensors(self, tensors: tuple[WireTensor, ...], model: WireModel) -> tuple[int, int]:
        """Appends the tensors' records; where the first one is and how large a block of max_rows is."""
        if not model.kernel_ok:
            return len(self.words), 0
        at = len(self.words)
        self.words += [0] * (len(tensors) * TENSOR_WORDS)
        block_bytes = 0
        for index, tensor in enumerate(tensors):
            dimensions_at = len(self.words)
            self.words += tensor.shape[1:]
            kind, name = tensor.kind, tensor.name.encode()
            record = [
                *self._bytes(name), tensor.datatype, *self._bytes(kind.name.encode()),
                tensor.row_elements, tensor.row_bytes,
                dimensions_at, len(tensor.shape) - 1, block_bytes,
                *self._bytes((_field(1, name) if name else b"") + _field(2, kind.name.encode())),
                *self._bytes(b"".join(map(_varint, tensor.shape[1:]))),
                kind.contents_field,
            ]  # fmt: skip
            self.words[at + index * TENSOR_WORDS : at + (index + 1) * TENSOR_WORDS] = record
            block_bytes += -(-model.max_rows * tensor.row_bytes // COLUMN_ALIGNMENT_BYTES) * COLUMN_ALIGNMENT_BYTES
        return at, block_bytes


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content
