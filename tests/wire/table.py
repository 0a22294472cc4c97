"""Every wire kernel beside its slow oracle and a generator of arguments. Tests and benchmarks both walk it.

A row's oracle gets the arguments as they are before the call and returns what the kernel has to give: the same value,
or `OrHandedOver(value)` where the kernel may also leave it to the servicers. `seen` turns a kernel's result and the
arrays it wrote into that value. Names with an underscore are parts of one kernel each, held by that kernel's row.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from native.wire import contents, elements, fields, frames, metadata, outputs, reply_writer, rows, tensors
from native.wire import infer_reader as infer
from native.wire import parsed as layout
from native.wire import predict_reader as predict
from native.wire.codes import HAND_OVER, NO_ROOM, OK
from native.wire.datatypes import DATATYPES, FP32, NO_CONTENTS
from native.wire.directory import HEADER_WORDS, MODEL_WORDS, ModelDirectory, WireModel, WireTensor
from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2 as roost
from tests.oracles import frames as slow_frames
from tests.oracles import messages as slow_messages
from tests.oracles import metadata as slow_metadata
from tests.oracles import replies as slow_replies
from tests.oracles.messages import CONTENTS, Meaning, Verdict
from tests.oracles.varints import read_varint, signed, tag, varint, varints_of
from tests.wire import traffic

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OrHandedOver:
    """A value that the kernel may find, or else HAND_OVER."""

    value: Any


@dataclass(frozen=True)
class Row:
    """One kernel. typical: arguments that a benchmark may call it with again and again."""

    kernel: Any
    arguments: Callable[[Random], tuple[Any, ...]]
    oracle: Callable[..., Any]
    seen: Callable[[Any, tuple[Any, ...]], Any] = lambda result, _arguments: result
    typical: Callable[[], tuple[Any, ...]] | None = None

    @property
    def name(self) -> str:
        return f"{self.kernel.__module__.rpartition('.')[2]}.{self.kernel.__name__}"

    def check(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Calls the kernel, compiled or as Python, and fails where it gives anything but what the oracle says."""
        expected = self.oracle(*arguments)
        copied = tuple(argument.copy() if isinstance(argument, np.ndarray) else argument for argument in arguments)
        result = self.seen(call(*copied), copied)
        if isinstance(expected, OrHandedOver):
            if isinstance(result, int | np.integer) and result == HAND_OVER:
                return
            expected = expected.value
        assert result == expected, f"{self.name}{arguments}: expected {expected}, got {result}"


def array(content: bytes) -> Array:
    """The bytes as a kernel gets them: writable memory of their own, a spare byte where there are none."""
    return np.frombuffer(content or b"\0", dtype=np.uint8).copy()


def span(random: Random, content: bytes) -> tuple[Array, int, int]:
    """(array, start, end) of the content between bytes that are none of the kernel's business."""
    before, after = random.randrange(4), random.randrange(4)
    return array(random.randbytes(before) + content + random.randbytes(after)), before, before + len(content)


def cut(content: Array, start: int, end: int) -> bytes:
    return content[start:end].tobytes()


def parsed_vector() -> Array:
    return np.full(layout.PARSED_WORDS, -7, dtype=np.int64)


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


def _varint_bytes(random: Random) -> bytes:
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
    content = random.choice((_varint_bytes(random), random.randbytes(random.randrange(10)), varint(4) + b"abcde"))
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


# Models and tensors.


def _directory(random: Random) -> ModelDirectory:
    return ModelDirectory(traffic.models(random, random.randint(1, 3)))


def _model_at(index: int) -> int:
    return HEADER_WORDS + index * MODEL_WORDS


class _Known:
    """The directories behind the tables that kernels are called with, so that no oracle reads a table to know a model.

    Names differ in length wherever models differ in nothing else, so the table alone tells them apart.
    """

    def __init__(self) -> None:
        self._directories: dict[bytes, ModelDirectory] = {}

    def remember(self, directory: ModelDirectory) -> ModelDirectory:
        if len(self._directories) > 1000:
            self._directories.clear()
        self._directories[directory.table.tobytes()] = directory
        return directory

    def directory_of(self, table: Array) -> ModelDirectory:
        return self._directories[table.tobytes()]

    def of(self, table: Array) -> tuple[WireModel, ...]:
        return self.directory_of(table).models


KNOWN = _Known()


def _find_model_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(_directory(random))
    name = random.choice(directory.models).name.encode()
    message, start, end = span(random, random.choice((name, name, name[:-1], name + b"x", b"", b"\xff" + name[1:])))
    return message, start, end - start, directory.table, directory.blob


def _find_model(message: Array, offset: int, count: int, table: Array, blob: Array) -> int:
    names = [model.name.encode() for model in KNOWN.of(table)]
    name = cut(message, offset, offset + count)
    if name not in names or not slow_messages.batches(KNOWN.of(table)[names.index(name)]):
        return HAND_OVER
    return _model_at(names.index(name))


def _version_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(_directory(random))
    index = random.randrange(len(directory.models))
    version = directory.models[index].version.encode()
    message, start, end = span(random, random.choice((b"", version, version + b"0", b"2", b"\xff")))
    return message, start, end - start, directory.table, directory.blob, _model_at(index)


def _version_ok(message: Array, offset: int, count: int, table: Array, blob: Array, model_at: int) -> bool:
    model = KNOWN.of(table)[(model_at - HEADER_WORDS) // MODEL_WORDS]
    return cut(message, offset, offset + count) in (b"", model.version.encode())


def _dimensions_arguments(random: Random) -> tuple[Any, ...]:
    content = b"".join(
        _varint_bytes(random) if random.random() < 0.1 else varint(7) for _ in range(random.randrange(6))
    )
    return *span(random, content), random.choice((0, 1, 13)), 16, parsed_vector()


def _dimensions(message: Array, position: int, end: int, count: int, count_max: int, _parsed: Array) -> Any:
    try:
        values = [signed(value, 64) for value in varints_of(cut(message, position, end))]
    except ValueError:
        return HAND_OVER
    return HAND_OVER if count + len(values) > count_max else (count + len(values), values)


def _dimensions_seen(result: int, arguments: tuple[Any, ...]) -> Any:
    count, noted = arguments[3], arguments[5][layout.NOTE_SHAPE :]
    return result if result < 0 else (result, noted[count:result].tolist())


def _tensor_arguments(random: Random) -> tuple[Any, ...]:
    message = traffic.predict_request(random, traffic.model(random, "m"))
    content = message.inputs[0].SerializeToString()
    if random.random() < 0.7:
        content = traffic.freely_encoded(random, content, set(), {(3,)}, (0,))
    if random.random() < 0.3:
        content = traffic.mutated(random, content, content)
    return *span(random, content), parsed_vector()


def _tensor(message: Array, position: int, end: int, _parsed: Array) -> Any:
    content = cut(message, position, end)
    try:
        sent = roost.Tensor.FromString(content)
    except DecodeError:
        return HAND_OVER
    found = (sent.name.encode(), sent.datatype.encode(), list(sent.shape), sent.raw, len(sent.bytes_values))
    sent.DiscardUnknownFields()
    certain = sent.SerializeToString() == content and len(sent.shape) <= layout.DIMENSIONS_MAX
    return found if certain else OrHandedOver(found)


def _tensor_seen(result: int, arguments: tuple[Any, ...]) -> Any:
    if result < 0:
        return result
    message, noted = arguments[0], arguments[3]

    def text(word: int) -> bytes:
        return cut(message, noted[word], noted[word] + noted[word + 1])

    name, datatype = text(tensors.NOTE_NAME_OFFSET), text(tensors.NOTE_DATATYPE_OFFSET)
    # Names are checked against the directory's afterwards; until then, they may be no UTF-8.
    if not (name.isascii() and datatype.isascii()):
        return HAND_OVER
    shape = noted[layout.NOTE_SHAPE :][: noted[tensors.NOTE_DIMENSION_COUNT]].tolist()
    return name, datatype, shape, text(tensors.NOTE_FIELD_4), int(noted[tensors.NOTE_FIELD_5 + 2])


def _match_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(_directory(random))
    index = random.randrange(len(directory.models))
    model = directory.models[index]
    declared = random.choice(model.inputs)
    name = random.choice((declared.name,) * 4 + ("nothing", declared.name[:-1] + "?"))
    datatype = random.choice((declared.kind.name,) * 4 + ("FP32", "", "INT8"))
    shape = [random.choice((1, model.max_rows, model.max_rows, 0, model.max_rows + 1, -1)), *declared.shape[1:]]
    if random.random() < 0.3:
        shape = random.choice(([*shape, 1], shape[:-1], [*shape[:-1], shape[-1] + 1]))
    parsed = parsed_vector()
    message, start, _end = span(random, (name + datatype).encode())
    parsed[tensors.NOTE_NAME_OFFSET : tensors.NOTE_DIMENSION_COUNT + 1] = (
        start, len(name), start + len(name), len(datatype), len(shape),
    )  # fmt: skip
    parsed[layout.NOTE_SHAPE : layout.NOTE_SHAPE + len(shape)] = shape
    return message, directory.table, directory.blob, _model_at(index), random.randrange(len(model.inputs)), parsed


def _match(message: Array, table: Array, blob: Array, model_at: int, _guess: int, parsed: Array) -> int:
    model = KNOWN.of(table)[(model_at - HEADER_WORDS) // MODEL_WORDS]
    words = parsed[tensors.NOTE_NAME_OFFSET : tensors.NOTE_DIMENSION_COUNT + 1].tolist()
    name = cut(message, words[0], words[0] + words[1]).decode()
    shape = tuple(parsed[layout.NOTE_SHAPE :][: words[4]].tolist())
    for index, declared in enumerate(model.inputs):
        if declared.name == name:
            same_type = declared.kind.name == cut(message, words[2], words[2] + words[3]).decode()
            same_shape = bool(shape) and shape[1:] == declared.shape[1:] and 1 <= shape[0] <= model.max_rows
            return index if same_type and same_shape else HAND_OVER
    return HAND_OVER


def _mask_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(_directory(random))
    index = random.randrange(len(directory.models))
    declared = [output.name for output in directory.models[index].outputs]
    names = random.choice((declared, declared[1:], declared[::-1], [], declared[:1] * 2, ["nothing"]))
    message, start, end = span(random, "".join(names).encode())
    parsed = parsed_vector()
    position = start
    for number, name in enumerate(names):
        parsed[layout.NOTE_OUTPUTS + 2 * number : layout.NOTE_OUTPUTS + 2 * number + 2] = position, len(name)
        position += len(name)
    assert position == end
    return message, directory.table, directory.blob, _model_at(index), len(names), parsed


def _mask(message: Array, table: Array, blob: Array, model_at: int, wanted: int, parsed: Array) -> int:
    declared = [output.name for output in KNOWN.of(table)[(model_at - HEADER_WORDS) // MODEL_WORDS].outputs]
    spans = parsed[layout.NOTE_OUTPUTS :][: 2 * wanted].reshape(-1, 2).tolist()
    names = [cut(message, offset, offset + count).decode() for offset, count in spans]
    if not names:
        return 2 ** len(declared) - 1
    positions = [declared.index(name) if name in declared else -1 for name in names]
    if -1 in positions or sorted(set(positions)) != positions:
        return HAND_OVER
    return sum(2**position for position in positions)


# Typed contents.

TYPED_INTEGERS = [code for code in traffic.TYPED if DATATYPES[code].numpy_dtype.kind in "iub"]


def _value_arguments(random: Random) -> tuple[int, int]:
    return signed(random.choice((*INTERESTING, -1, -128, -129, 255, 256, 2**32 + 1)), 64), random.choice(TYPED_INTEGERS)


def _value(bits: int, datatype: int) -> int:
    """By google.protobuf: what the field of typed contents reads from this varint."""
    field_name = CONTENTS[DATATYPES[datatype].name]
    number = inference.InferTensorContents.DESCRIPTOR.fields_by_name[field_name].number
    read = inference.InferTensorContents.FromString(tag(number, 2) + varint(len(varint(bits))) + varint(bits))
    return signed(int(getattr(read, field_name)[0]), 64)


def _fits_arguments(random: Random) -> tuple[int, int]:
    datatype = random.choice(TYPED_INTEGERS)
    return _value(signed(random.choice((*INTERESTING, -1, -128, -129, 255, 256, 32768, 65536)), 64), datatype), datatype


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
    return len(bits) == count and all(_fits(_value(each, datatype), datatype) for each in bits)


def _contents_arguments(random: Random) -> tuple[Any, ...]:
    code = random.choice(traffic.TYPED)
    kind = DATATYPES[code]
    values = traffic.elements(random, WireTensor("x", code, (-1, 2)), random.randint(1, 3)).ravel().tolist()
    sent = inference.InferTensorContents(**{CONTENTS[kind.name]: values})
    if random.random() < 0.2:
        sent.bytes_contents.append(b"?")
    content = sent.SerializeToString()
    content += random.choice((b"", b"", b"", content, traffic.unknown_field(random)))
    if random.random() < 0.2:
        content = traffic.mutated(random, content, content)
    return *span(random, content), kind.contents_field, layout.PARSED_INPUTS, parsed_vector()


def _contents(message: Array, position: int, end: int, contents_field: int, _record: int, _parsed: Array) -> Any:
    content = cut(message, position, end)
    try:
        sent = inference.InferTensorContents.FromString(content)
    except DecodeError:
        # Whether the elements are well-formed is `varints_ok`'s to find out, not this kernel's.
        sent = inference.InferTensorContents()
        if contents_field in (6, 7):
            return HAND_OVER
        return OrHandedOver(None)
    present = [name for name in slow_messages.ALL_CONTENTS if getattr(sent, name)]
    fields_by_number = inference.InferTensorContents.DESCRIPTOR.fields_by_number
    if present != [fields_by_number[contents_field].name]:
        return OrHandedOver([]) if not present else HAND_OVER
    values = list(getattr(sent, present[0]))
    sent.DiscardUnknownFields()
    return values if sent.SerializeToString() == content else OrHandedOver(values)


def _contents_seen(result: int, arguments: tuple[Any, ...]) -> Any:
    if result < 0:
        return result
    message, contents_field, record, parsed = arguments[0], arguments[3], arguments[4], arguments[5]
    offset, count, encoding = parsed[record : record + 3].tolist()
    elements_found = cut(message, offset, offset + count)
    if contents_field in (6, 7):
        assert encoding == layout.ENCODING_FIXED
        width = 4 if contents_field == 6 else 8
        return np.frombuffer(elements_found[: count // width * width], f"<f{width}").tolist()
    assert encoding == layout.ENCODING_VARINTS
    name = inference.InferTensorContents.DESCRIPTOR.fields_by_number[contents_field].name
    try:
        again = inference.InferTensorContents.FromString(tag(contents_field, 2) + varint(count) + elements_found)
    except DecodeError:
        return None
    return list(getattr(again, name))


# Whole messages.


def decoded(message: Array, parsed: Array, declared: Sequence[WireTensor]) -> tuple[bytes, ...]:
    """The elements of each input, from where a reader found them."""
    columns = []
    for index, tensor in enumerate(declared):
        record = layout.PARSED_INPUTS + index * layout.PARSED_INPUT_WORDS
        offset, count, encoding = parsed[record : record + 3].tolist()
        content = cut(message, offset, offset + count)
        if encoding == layout.ENCODING_VARINTS:
            packed = tag(tensor.kind.contents_field, 2) + varint(count) + content
            values = getattr(inference.InferTensorContents.FromString(packed), CONTENTS[tensor.kind.name])
            content = np.array(list(values), tensor.kind.numpy_dtype).tobytes()
        columns.append(content)
    return tuple(columns)


def meaning_of(result: int, arguments: tuple[Any, ...]) -> Any:
    """What a reader found, as the oracles say it."""
    if result != OK:
        return result
    message, _start, _end, table, _blob, parsed = arguments
    models = KNOWN.of(table)
    model = models[parsed[layout.PARSED_MODEL]]
    names = [
        output.name for index, output in enumerate(model.outputs) if parsed[layout.PARSED_OUTPUT_MASK] >> index & 1
    ]

    def text(word: int) -> bytes:
        return cut(message, parsed[word], parsed[word] + parsed[word + 1])

    return Meaning(
        int(parsed[layout.PARSED_MODEL]),
        int(parsed[layout.PARSED_ROWS]),
        bool(parsed[layout.PARSED_CONTENTS] == layout.TYPED_CONTENTS),
        tuple(names),
        text(layout.PARSED_ID_OFFSET),
        text(layout.PARSED_ROUTING_KEY_OFFSET),
        decoded(message, parsed, model.inputs),
        tuple(tensor.kind.name for tensor in model.inputs),
    )


def _reader_arguments(make: Callable[[Random, WireModel], bytes]) -> Callable[[Random], tuple[Any, ...]]:
    def arguments(random: Random) -> tuple[Any, ...]:
        directory = KNOWN.remember(_directory(random))
        message = make(random, random.choice(directory.models))
        if random.random() < 0.2:
            message = traffic.mutated(random, message, make(random, random.choice(directory.models)))
        return *span(random, message), directory.table, directory.blob, parsed_vector()

    return arguments


def _reader(read: Callable[[bytes, Sequence[WireModel]], Verdict]) -> Callable[..., Any]:
    def oracle(message: Array, start: int, end: int, table: Array, blob: Array, _parsed: Array) -> Any:
        verdict = read(cut(message, start, end), KNOWN.of(table))
        if verdict.meaning is None:
            return HAND_OVER
        return verdict.meaning if verdict.certain else OrHandedOver(verdict.meaning)

    return oracle


def plain_directory() -> ModelDirectory:
    """A perceptron of 32 features and two classes."""
    features, classes = WireTensor("input", FP32, (-1, 32)), WireTensor("output", FP32, (-1, 2))
    model = WireModel("mlp", "1", "0123456789ab", "stable", (features,), (classes,), 64)
    return KNOWN.remember(ModelDirectory([model]))


def plain_predict() -> tuple[Any, ...]:
    """`read_predict` on one row for it."""
    directory = plain_directory()
    raw = np.linspace(0, 1, 32, dtype=np.float32).tobytes()
    request = roost.PredictRequest(model="mlp")
    request.inputs.add(name="input", datatype="FP32", shape=[1, 32], raw=raw)
    message = array(request.SerializeToString())
    return message, 0, len(message), directory.table, directory.blob, parsed_vector()


def plain_infer() -> tuple[Any, ...]:
    """`read_infer` on one row for it."""
    directory = plain_directory()
    request = inference.ModelInferRequest(model_name="mlp")
    request.inputs.add(name="input", datatype="FP32", shape=[1, 32])
    request.raw_input_contents.append(np.linspace(0, 1, 32, dtype=np.float32).tobytes())
    message = array(request.SerializeToString())
    return message, 0, len(message), directory.table, directory.blob, parsed_vector()


# Rows and replies.


def _copy_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(_directory(random))
    model = random.choice(directory.models)
    read, make = random.choice(
        ((predict.read_predict, traffic.predict_request), (infer.read_infer, traffic.infer_request))
    )
    parsed = parsed_vector()
    while True:
        message, start, end = span(random, make(random, model).SerializeToString())
        if read(message, start, end, directory.table, directory.blob, parsed) == OK:
            break
    block = np.full(directory.input_block_bytes(int(parsed[layout.PARSED_MODEL])), 0xA5, dtype=np.uint8)
    room = model.max_rows - int(parsed[layout.PARSED_ROWS])
    return message, parsed, directory.table, block, random.choice((0, room, room, room + 1, -1))


def _copied(message: Array, parsed: Array, table: Array, block: Array, row: int) -> Any:
    directory = KNOWN.directory_of(table)
    index, count = int(parsed[layout.PARSED_MODEL]), int(parsed[layout.PARSED_ROWS])
    model = directory.models[index]
    expected = block.copy()
    if row < 0 or row + count > model.max_rows:
        return NO_ROOM, expected.tobytes()
    for column, content in zip(
        directory.input_columns(index, expected), decoded(message, parsed, model.inputs), strict=True
    ):
        column[row : row + count] = np.frombuffer(content, column.dtype).reshape(count, *column.shape[1:])
    return OK, expected.tobytes()


def _reply_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(_directory(random))
    index = random.randrange(len(directory.models))
    model = directory.models[index]
    block = np.zeros(directory.output_block_bytes(index), dtype=np.uint8)
    for column, output in zip(directory.output_columns(index, block), model.outputs, strict=True):
        column[:] = traffic.elements(random, output, model.max_rows)
    rows_count = random.randint(1, model.max_rows)
    row = random.randint(0, model.max_rows - rows_count)
    mask = random.randrange(1, 2 ** len(model.outputs))
    return directory, index, rows_count, mask, block, row


def _expected_reply(
    table: Array, index: int, count: int, mask: int, block: Array, row: int, id_and_typed: tuple[bytes, bool] | None
) -> bytes:
    directory = KNOWN.directory_of(table)
    model = directory.models[index]
    wanted = [output for output in range(len(model.outputs)) if mask >> output & 1]
    columns, span_rows = directory.output_columns(index, block), slice(row, row + count)
    if id_and_typed is None:
        return slow_replies.predict_reply(model, wanted, columns, span_rows)
    return slow_replies.infer_reply(model, wanted, columns, span_rows, *id_and_typed)


def _out(random: Random, reply_bytes: int) -> tuple[Array, int, int]:
    """(buffer, start, end): mostly with room to the byte, at times with a byte too little."""
    start = random.randrange(4)
    end = start + reply_bytes - random.choice((0, 0, 0, 1))
    return np.full(end + 4, 0xA5, dtype=np.uint8), start, end


def _written(out: Array, start: int, end: int, reply: bytes) -> Any:
    expected = out.copy()
    if len(reply) > end - start:
        return NO_ROOM, expected.tobytes()
    expected[start : start + len(reply)] = np.frombuffer(reply, np.uint8)
    return start + len(reply), expected.tobytes()


def _predict_bytes_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, _block, _row = _reply_arguments(random)
    return directory.table, index, count, mask


def _predict_bytes(table: Array, index: int, count: int, mask: int) -> int:
    block = np.zeros(KNOWN.directory_of(table).output_block_bytes(index), dtype=np.uint8)
    return len(_expected_reply(table, index, count, mask, block, 0, None))


def _predict_reply_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, block, row = _reply_arguments(random)
    reply_bytes = len(_expected_reply(directory.table, index, count, mask, block, row, None))
    return *_out(random, reply_bytes), directory.table, directory.blob, index, count, mask, block, row


def _predict_reply(
    out: Array,
    start: int,
    end: int,
    table: Array,
    _blob: Array,
    index: int,
    count: int,
    mask: int,
    block: Array,
    row: int,
) -> Any:
    return _written(out, start, end, _expected_reply(table, index, count, mask, block, row, None))


def _typed(random: Random, model: WireModel) -> bool:
    return random.random() < 0.5 and all(tensor.kind.contents_field != NO_CONTENTS for tensor in model.outputs)


def _infer_bytes_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, block, row = _reply_arguments(random)
    typed = int(_typed(random, directory.models[index]))
    return directory.table, index, count, mask, random.choice((0, 1, 64)), typed, block, row


def _infer_bytes(
    table: Array, index: int, count: int, mask: int, id_bytes: int, typed: int, block: Array, row: int
) -> int:
    return len(_expected_reply(table, index, count, mask, block, row, (b"i" * id_bytes, bool(typed))))


def _infer_reply_arguments(random: Random) -> tuple[Any, ...]:
    directory, index, count, mask, block, row = _reply_arguments(random)
    typed = _typed(random, directory.models[index])
    request_id = random.choice((b"", b"a", b"i" * 64))
    reply = _expected_reply(directory.table, index, count, mask, block, row, (request_id, typed))
    ids, id_start, id_end = span(random, request_id)
    return (
        *_out(random, len(reply)), directory.table, directory.blob, index, count, mask,
        ids, id_start, id_end - id_start, int(typed), block, row,
    )  # fmt: skip


def _infer_reply(
    out: Array, start: int, end: int, table: Array, _blob: Array, index: int, count: int, mask: int,
    ids: Array, id_offset: int, id_bytes: int, typed: int, block: Array, row: int,
) -> Any:  # fmt: skip
    request_id = cut(ids, id_offset, id_offset + id_bytes)
    return _written(out, start, end, _expected_reply(table, index, count, mask, block, row, (request_id, bool(typed))))


def _plain_copy() -> tuple[Any, ...]:
    message, start, end, table, blob, parsed = plain_predict()
    assert predict.read_predict(message, start, end, table, blob, parsed) == OK
    return message, parsed, table, np.zeros(plain_directory().input_block_bytes(0), dtype=np.uint8), 5


def _plain_predict_reply() -> tuple[Any, ...]:
    directory = plain_directory()
    block = np.zeros(directory.output_block_bytes(0), dtype=np.uint8)
    return np.zeros(512, dtype=np.uint8), 0, 512, directory.table, directory.blob, 0, 1, 1, block, 5


def _plain_infer_reply() -> tuple[Any, ...]:
    directory = plain_directory()
    block, ids = np.zeros(directory.output_block_bytes(0), dtype=np.uint8), array(b"request-1")
    out = np.zeros(512, dtype=np.uint8)
    return out, 0, 512, directory.table, directory.blob, 0, 1, 1, ids, 0, 9, layout.RAW_CONTENTS, block, 5


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


TABLE = (
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
        lambda random: span(random, _varint_bytes(random)),
        _small_varint,
        lambda result, _arguments: HAND_OVER if result[0] == HAND_OVER else result,
    ),
    Row(
        fields.wide_varint,
        lambda random: span(random, _varint_bytes(random)),
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
    Row(tensors.find_model, _find_model_arguments, _find_model),
    Row(tensors.version_ok, _version_arguments, _version_ok),
    Row(tensors.read_dimensions, _dimensions_arguments, _dimensions, _dimensions_seen),
    Row(tensors.read_tensor, _tensor_arguments, _tensor, _tensor_seen),
    Row(tensors.match_input, _match_arguments, _match),
    Row(outputs.output_mask, _mask_arguments, _mask),
    Row(contents.element_value, _value_arguments, _value),
    Row(contents.element_fits, _fits_arguments, _fits),
    Row(contents.varints_ok, _varints_arguments, _varints_ok),
    Row(contents.read_contents, _contents_arguments, _contents, _contents_seen),
    Row(
        predict.read_predict,
        _reader_arguments(traffic.predict_message),
        _reader(slow_messages.predict_meaning),
        meaning_of,
        plain_predict,
    ),
    Row(
        infer.read_infer,
        _reader_arguments(traffic.infer_message),
        _reader(slow_messages.infer_meaning),
        meaning_of,
        plain_infer,
    ),
    Row(
        rows.copy_rows,
        _copy_arguments,
        _copied,
        lambda result, arguments: (result, arguments[3].tobytes()),
        _plain_copy,
    ),
    Row(elements.varint_bytes, lambda random: _out_varint(random)[2:], lambda bits: len(varint(bits))),
    Row(
        elements.write_varint,
        _out_varint,
        lambda out, at, bits: _written(out, at, len(out), varint(bits)),
        lambda result, arguments: (result, arguments[0].tobytes()),
    ),
    Row(elements.element_at, _element_arguments, _element),
    Row(reply_writer.predict_reply_bytes, _predict_bytes_arguments, _predict_bytes),
    Row(
        reply_writer.write_predict_reply,
        _predict_reply_arguments,
        _predict_reply,
        lambda result, arguments: (result, arguments[0].tobytes()),
        _plain_predict_reply,
    ),
    Row(reply_writer.infer_reply_bytes, _infer_bytes_arguments, _infer_bytes),
    Row(
        reply_writer.write_infer_reply,
        _infer_reply_arguments,
        _infer_reply,
        lambda result, arguments: (result, arguments[0].tobytes()),
        _plain_infer_reply,
    ),
)
