"""Rows of the kernels that read messages: tensors, outputs, contents and the two readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from native.wire import contents, outputs, tensors
from native.wire import infer_reader as infer
from native.wire import parsed as layout
from native.wire import predict_reader as predict
from native.wire.codes import HAND_OVER, OK
from native.wire.datatypes import DATATYPES, FP32
from native.wire.directory import HEADER_WORDS, MODEL_WORDS, ModelDirectory, WireModel, WireTensor
from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2 as roost
from tests.oracles import messages as slow_messages
from tests.oracles.messages import CONTENTS, Meaning, Verdict
from tests.oracles.varints import signed, tag, varint, varints_of
from tests.wire import traffic
from tests.wire.leaf_rows import random_varint
from tests.wire.row import (
    KNOWN,
    Array,
    OrHandedOver,
    Row,
    array,
    cut,
    model_at,
    parsed_vector,
    random_directory,
    span,
)


def _find_model_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(random_directory(random))
    model = random.choice(directory.models)
    name, version = model.name.encode(), model.version.encode()
    named = random.choice((name, name, name[:-1], name + b"x", b"", b"\xff" + name[1:]))
    asked = random.choice((b"", b"", version, version + b"0", b"\xff"))
    message, start, end = span(random, named + asked)
    return message, start, len(named), start + len(named), end - start - len(named), directory.table, directory.blob


def _find_model(
    message: Array, offset: int, count: int, version_offset: int, version_count: int, table: Array, blob: Array
) -> int:
    name = cut(message, offset, offset + count)
    version = cut(message, version_offset, version_offset + version_count)
    for index, model in enumerate(KNOWN.of(table)):
        if model.name.encode() == name and version in (b"", model.version.encode()):
            return model_at(index) if slow_messages.batches(model) else HAND_OVER
    return HAND_OVER


def _version_arguments(random: Random) -> tuple[Any, ...]:
    directory = KNOWN.remember(random_directory(random))
    index = random.randrange(len(directory.models))
    version = directory.models[index].version.encode()
    message, start, end = span(random, random.choice((b"", version, version + b"0", b"2", b"\xff")))
    return message, start, end - start, directory.table, directory.blob, model_at(index)


def _version_ok(message: Array, offset: int, count: int, table: Array, blob: Array, model_at: int) -> bool:
    model = KNOWN.of(table)[(model_at - HEADER_WORDS) // MODEL_WORDS]
    return cut(message, offset, offset + count) in (b"", model.version.encode())


def _dimensions_arguments(random: Random) -> tuple[Any, ...]:
    content = b"".join(
        random_varint(random) if random.random() < 0.1 else varint(7) for _ in range(random.randrange(6))
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
    directory = KNOWN.remember(random_directory(random))
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
    return message, directory.table, directory.blob, model_at(index), random.randrange(len(model.inputs)), parsed


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
    directory = KNOWN.remember(random_directory(random))
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
    return message, directory.table, directory.blob, model_at(index), len(names), parsed


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
        directory = KNOWN.remember(random_directory(random))
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


MESSAGE_ROWS = (
    Row(tensors.find_model, _find_model_arguments, _find_model),
    Row(tensors.version_ok, _version_arguments, _version_ok),
    Row(tensors.read_dimensions, _dimensions_arguments, _dimensions, _dimensions_seen),
    Row(tensors.read_tensor, _tensor_arguments, _tensor, _tensor_seen),
    Row(tensors.match_input, _match_arguments, _match),
    Row(outputs.output_mask, _mask_arguments, _mask),
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
)
