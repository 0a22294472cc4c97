"""Golden examples: inputs with the outputs that the model gave when it was bundled.

Written by `bundle.py`; checked when a bundle is verified and when a server loads it, by whatever will run the model.
Always: reading back what was written gives the same bits, whatever the datatype; NaN keeps being NaN, payload aside.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from registry_client import canonical_json
from registry_client.canonical_json import Fields
from registry_client.errors import BadDocument, GoldenMismatch
from registry_client.manifest import GOLDEN_FILE, read_datatype
from registry_client.tensors import FREE_DIMENSION, Datatype, Signature, TensorSpec

GOLDEN_BYTES_MAX = 64 << 20
FORMAT_VERSION = 1

Tensors = Mapping[str, np.ndarray]
Run = Callable[[Tensors], Tensors]

_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_FLOATS = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})


@dataclass(frozen=True)
class Tensor:
    """An array and what its elements are: a uint16 array may be UINT16 or hold the bits of BF16."""

    datatype: Datatype
    array: np.ndarray


@dataclass(frozen=True)
class Example:
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class Golden:
    examples: tuple[Example, ...]

    def to_bytes(self) -> bytes:
        examples = [
            {"inputs": _tensors_document(example.inputs), "outputs": _tensors_document(example.outputs)}
            for example in self.examples
        ]
        return canonical_json.encode({"format": FORMAT_VERSION, "examples": examples})


def make_golden(signature: Signature, examples: Sequence[tuple[Tensors, Tensors]]) -> Golden:
    """Golden examples from plain arrays, typed by the signature. Raises BadDocument where they do not fit it."""
    golden = Golden(
        tuple(
            Example(_typed(signature.inputs, inputs, "inputs"), _typed(signature.outputs, outputs, "outputs"))
            for inputs, outputs in examples
        )
    )
    check_fits(golden, signature)
    return golden


def _typed(specs: tuple[TensorSpec, ...], arrays: Tensors, what: str) -> dict[str, Tensor]:
    datatypes = {spec.name: spec.datatype for spec in specs}
    if unknown := sorted(arrays.keys() - datatypes.keys()):
        raise BadDocument(
            f"{GOLDEN_FILE}: {what}.{unknown[0]}", expected=f"one of {', '.join(datatypes)}", got="another name",
            hint="Use the model's names.",
        )  # fmt: skip
    return {name: Tensor(datatypes[name], np.asarray(array)) for name, array in arrays.items()}


def read_golden(data: bytes) -> Golden:
    """The examples in `data`. Raises BadDocument, naming the key."""
    if len(data) > GOLDEN_BYTES_MAX:
        raise BadDocument(
            GOLDEN_FILE, expected=f"at most {GOLDEN_BYTES_MAX} bytes", got=f"{len(data)}", hint="Keep fewer examples."
        )
    root = Fields(canonical_json.parse(data, GOLDEN_FILE), GOLDEN_FILE)
    version = root.take("format", int)
    if version != FORMAT_VERSION:
        raise BadDocument(
            root.path("format"), expected=f"{FORMAT_VERSION}", got=f"{version}", hint="Use the Roost that wrote it."
        )
    examples = tuple(
        _read_example(document, f"{GOLDEN_FILE}: examples[{index}]")
        for index, document in enumerate(root.take("examples", list))
    )
    root.end()
    return Golden(examples)


def check_fits(golden: Golden, signature: Signature) -> None:
    """Every example gives each input and output of the signature, in its datatype and shape; there is at least one."""
    check_inputs_fit(golden, signature)
    for index, example in enumerate(golden.examples):
        _check_side(f"{GOLDEN_FILE}: examples[{index}].outputs", signature.outputs, example.outputs, declared_only=True)


def check_inputs_fit(golden: Golden, signature: Signature) -> None:
    if not golden.examples:
        raise BadDocument(GOLDEN_FILE, expected="at least one example", got="none", hint="roost bundle makes some.")
    for index, example in enumerate(golden.examples):
        _check_side(f"{GOLDEN_FILE}: examples[{index}].inputs", signature.inputs, example.inputs, declared_only=False)


def _check_side(
    where: str, specs: tuple[TensorSpec, ...], tensors: Mapping[str, Tensor], *, declared_only: bool
) -> None:
    wanted = {spec.name for spec in specs}
    if wanted != tensors.keys():
        raise BadDocument(
            where, expected=str(sorted(wanted)), got=str(sorted(tensors)), hint="Give the model's tensors, all."
        )
    for spec in specs:
        _check_spec(f"{where}.{spec.name}", spec, tensors[spec.name], declared_only=declared_only)


def _check_spec(where: str, spec: TensorSpec, tensor: Tensor, *, declared_only: bool) -> None:
    wanted, got = f"{spec.datatype.name} {list(spec.shape)}", f"{tensor.datatype.name} {list(tensor.array.shape)}"
    shape = tensor.array.shape
    # An output of [-1] may be one whose rank nobody declared (see onnx_model.py): any shape fits it.
    if declared_only and spec.shape == (FREE_DIMENSION,):
        shape = spec.shape
    fits = len(shape) == len(spec.shape) and all(
        free in (FREE_DIMENSION, size) for free, size in zip(spec.shape, shape, strict=True)
    )
    if tensor.datatype is not spec.datatype or tensor.array.dtype != spec.datatype.numpy_dtype or not fits:
        got = got if tensor.array.dtype == tensor.datatype.numpy_dtype else f"{tensor.array.dtype} {list(shape)}"
        raise BadDocument(where, expected=wanted, got=got, hint="Use the model's signature.")


def check_golden(golden: Golden, run: Run, rtol: float, atol: float) -> None:
    """Run every example and compare. Raises GoldenMismatch, naming example, output and index.

    Floats may be off by atol + rtol * |expected|; NaN answers NaN. Everything else must be equal.
    """
    for index, example in enumerate(golden.examples):
        answers = run({name: tensor.array for name, tensor in example.inputs.items()})
        for name, expected in example.outputs.items():
            where = f"golden example {index}, output {name!r}"
            if name not in answers:
                raise GoldenMismatch(where, expected="the output", got=f"only {sorted(answers)}", hint=_MISMATCH_HINT)
            _compare(where, expected, np.asarray(answers[name]), rtol, atol)


_MISMATCH_HINT = (
    "Do not serve it: the model or the ONNX Runtime differs from the one that was bundled. "
    "If the change is meant, bundle again."
)


def _compare(where: str, expected: Tensor, got: np.ndarray, rtol: float, atol: float) -> None:
    want = expected.array
    if got.shape != want.shape or got.dtype != want.dtype:
        raise GoldenMismatch(
            where,
            expected=f"{want.dtype} of shape {list(want.shape)}",
            got=f"{got.dtype} of shape {list(got.shape)}",
            hint=_MISMATCH_HINT,
        )
    off = np.atleast_1d(~_close(expected.datatype, want, got, rtol, atol))
    if off.any():
        position = tuple(int(axis[0]) for axis in np.nonzero(off))
        there = position if want.shape else ()
        raise GoldenMismatch(
            f"{where}, index {list(there)}",
            expected=f"{_shown(expected.datatype, want, there)} (rtol {rtol:g}, atol {atol:g})",
            got=f"{_shown(expected.datatype, got, there)}, {int(off.sum())} of {off.size} elements off",
            hint=_MISMATCH_HINT,
        )


def _close(datatype: Datatype, want: np.ndarray, got: np.ndarray, rtol: float, atol: float) -> np.ndarray:
    if datatype is Datatype.BYTES:
        # Element by element: `==` of object arrays may hand back one bool.
        flags = [_as_bytes(a) == _as_bytes(b) for a, b in zip(want.ravel(), got.ravel(), strict=True)]
        return np.array(flags, dtype=bool).reshape(want.shape)
    if datatype is Datatype.BF16:
        want, got = _float_of_bf16(want), _float_of_bf16(got)
    elif datatype not in _FLOATS:
        return np.asarray(want == got)
    return np.isclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True)


def _float_of_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _shown(datatype: Datatype, array: np.ndarray, position: tuple[int, ...]) -> str:
    element = _float_of_bf16(array)[position] if datatype is Datatype.BF16 else array[position]
    return repr(element.item() if isinstance(element, np.generic) else element)[:120]


def _as_bytes(element: object) -> bytes:
    return element.encode("utf-8") if isinstance(element, str) else bytes(element)  # type: ignore[call-overload]


def _tensors_document(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        name: {
            "datatype": tensor.datatype.name,
            "shape": list(tensor.array.shape),
            "contents": _contents(tensor.datatype, tensor.array),
        }
        for name, tensor in tensors.items()
    }


def _contents(datatype: Datatype, array: np.ndarray) -> list[Any]:
    if datatype is Datatype.BYTES:
        return [base64.b64encode(_as_bytes(element)).decode("ascii") for element in array.ravel()]
    # Every float16 and float32 is a float64, whose repr json writes in full: exact both ways.
    elements = array.ravel().tolist()
    return [_float_document(element) for element in elements] if datatype in _FLOATS else elements


def _float_document(element: float) -> float | str:
    if element != element:
        return "NaN"
    if element in (float("inf"), float("-inf")):
        return "Infinity" if element > 0 else "-Infinity"
    return element


def _read_example(document: object, what: str) -> Example:
    fields = Fields(document, what)
    sides = [
        {
            name: _read_tensor(tensor, f"{fields.path(side)}.{name}")
            for name, tensor in fields.take(side, dict).items()
        }
        for side in ("inputs", "outputs")
    ]  # fmt: skip
    fields.end()
    return Example(*sides)


def _read_tensor(document: object, what: str) -> Tensor:
    fields = Fields(document, what)
    datatype = read_datatype(fields.take("datatype", str), fields.path("datatype"))
    shape, contents = fields.take("shape", list), fields.take("contents", list)
    fields.end()
    if any(type(size) is not int or size < 0 for size in shape) or len(shape) > 32:
        got = str(shape)[:80]
        raise BadDocument(fields.path("shape"), expected="sizes of at most 32 dimensions", got=got, hint=_FORM)
    count = 1
    for size in shape:
        count *= size
    if count != len(contents):
        raise BadDocument(
            fields.path("contents"), expected=f"{count} elements for shape {shape}", got=f"{len(contents)}", hint=_FORM
        )
    elements = [_read_element(datatype, element, f"{what}.contents[{i}]") for i, element in enumerate(contents)]
    array = np.empty(len(elements), dtype=datatype.numpy_dtype)
    array[:] = elements
    return Tensor(datatype, array.reshape(shape))


_FORM = "docs/reference/bundle.md gives the form."


def _read_element(datatype: Datatype, element: object, what: str) -> Any:
    if datatype is Datatype.BYTES:
        return _read_base64(element, what)
    if datatype in _FLOATS:
        return _read_float(datatype, element, what)
    if datatype is Datatype.BOOL:
        if type(element) is not bool:
            raise BadDocument(what, expected="true or false", got=repr(element)[:40], hint=_FORM)
        return element
    limits = np.iinfo(datatype.numpy_dtype.name)
    if type(element) is not int or not limits.min <= element <= limits.max:
        raise BadDocument(
            what, expected=f"an integer of {limits.min} to {limits.max}", got=repr(element)[:40], hint=_FORM
        )
    return element


def _read_base64(element: object, what: str) -> bytes:
    try:
        if isinstance(element, str):
            return base64.b64decode(element, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadDocument(what, expected="base64", got=repr(element)[:40], hint=_FORM) from error
    raise BadDocument(what, expected="base64", got=repr(element)[:40], hint=_FORM)


def _read_float(datatype: Datatype, element: object, what: str) -> float:
    if isinstance(element, str) and element in _NOT_FINITE:
        return _NOT_FINITE[element]
    largest = float(np.finfo(datatype.numpy_dtype.name).max)
    if (type(element) is int or type(element) is float) and abs(element) <= largest:
        return float(element)
    expected = f"a number within {datatype.name}, 'NaN', 'Infinity' or '-Infinity'"
    raise BadDocument(what, expected=expected, got=repr(element)[:40], hint=_FORM)
