"""A model as MLflow's ONNX flavour lays it out: MLmodel says which file it is, weights may lie in further files.

Used by `adopting.py`, for what somebody else has logged. Pure: files come from a function that the caller gives.
Always: nothing is believed without a bound, no name leads out of the model's folder, nothing but MLmodel, the ONNX file
and its weights is asked for, and what comes back holds its weights itself. Code beside the model is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from registry_client.errors import BadDocument, UnservableModel
from registry_client.graph_walk import walk_tensors
from registry_client.manifest import sha256_hex
from registry_client.onnx_model import MODEL_BYTES_MAX

MLMODEL: Final = "MLmodel"
MLMODEL_BYTES_MAX: Final = 1 << 20
WEIGHT_FILES_MAX: Final = 4096
# onnx.save gives weights a UUID as name. No folder, nothing hidden.
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
_ANEW: Final = "Log it anew: mlflow.onnx.log_model(..., save_as_external_data=False)."

ReadFile = Callable[[str, int], bytes]
"""The content of a file by name, if it has at most so many bytes. Raises ArtifactError."""


@dataclass(frozen=True)
class ForeignModel:
    """model_bytes: the ONNX file with its weights inside. sha256: of each file that was read, as it was logged."""

    model_bytes: bytes
    sha256: Mapping[str, str]
    onnx_version: str
    mlflow_version: str


def read_foreign(read_file: ReadFile) -> ForeignModel:
    """Raises BadDocument and UnservableModel, naming the file or the key."""
    described = read_file(MLMODEL, MLMODEL_BYTES_MAX)
    document = _read_mlmodel(described)
    flavour = _onnx_flavour(document)
    name = _file_name(flavour.get("data"), f"{MLMODEL}: flavors.onnx.data")
    content = read_file(name, MODEL_BYTES_MAX)
    sha256 = {MLMODEL: sha256_hex(described), name: sha256_hex(content)}
    model_bytes = _with_weights(content, name, read_file, sha256)
    return ForeignModel(model_bytes, sha256, _text(flavour, "onnx_version"), _text(document, "mlflow_version"))


def _read_mlmodel(content: bytes) -> dict[str, Any]:
    try:
        # Of the two loaders the one in Python: deep nesting is an exception there, and no crash.
        document = yaml.load(content.decode("utf-8"), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        got = " ".join(str(error).split())[:200]
        raise BadDocument(MLMODEL, expected="YAML", got=got, hint="Log the model anew.") from error
    if not isinstance(document, dict):
        raise BadDocument(
            MLMODEL, expected="a mapping", got=type(document).__name__, hint="Log the model anew with mlflow.onnx."
        )
    return document


def _onnx_flavour(document: dict[str, Any]) -> dict[str, Any]:
    flavours = document.get("flavors")
    flavours = flavours if isinstance(flavours, dict) else {}
    found = flavours.get("onnx")
    if not isinstance(found, dict):
        raise UnservableModel(
            f"{MLMODEL}: flavors", expected="the flavour onnx",
            got=", ".join(sorted(str(flavour)[:40] for flavour in flavours)[:10]) or "none",
            hint="Convert the model to ONNX and log it with mlflow.onnx.log_model, or bundle the file: roost bundle.",
        )  # fmt: skip
    return found


def _text(document: dict[str, Any], key: str) -> str:
    return str(document.get(key, ""))[:80]


def _file_name(name: object, what: str) -> str:
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise BadDocument(what, expected="the name of a file beside MLmodel", got=repr(name)[:80], hint=_ANEW)
    return name


def _with_weights(content: bytes, name: str, read_file: ReadFile, sha256: dict[str, str]) -> bytes:
    """The ONNX file as it is, or written anew with the weights that it keeps in other files."""
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return content  # whoever makes the bundle says what it is instead
    outside = [tensor for tensor in walk_tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    if not outside:
        return content
    files: dict[str, bytes] = {}
    total = len(content)
    for tensor in outside:
        what = f"{name}: tensor {tensor.name!r}"
        told = {entry.key: entry.value for entry in tensor.external_data}
        location = _file_name(told.get("location"), f"{what}: location")
        if location not in files:
            if len(files) == WEIGHT_FILES_MAX:
                raise UnservableModel(name, expected=f"at most {WEIGHT_FILES_MAX} files", got="more", hint=_ANEW)
            files[location] = read_file(location, MODEL_BYTES_MAX)
            sha256[location] = sha256_hex(files[location])
        weights = _slice(files[location], told, what)
        # Many tensors may name the same bytes. A tensor inside takes less than one that says where it is.
        total += len(weights)
        if total > MODEL_BYTES_MAX:
            raise UnservableModel(
                name, expected=f"at most {MODEL_BYTES_MAX} bytes with its weights", got="more", hint="Quantise it."
            )
        tensor.raw_data = bytes(weights)
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    return model.SerializeToString(deterministic=True)


def _slice(content: bytes, told: Mapping[str, str], what: str) -> memoryview:
    offset = _number(told.get("offset", "0"), f"{what}: offset")
    length = _number(told.get("length", str(max(0, len(content) - offset))), f"{what}: length")
    if offset + length > len(content):
        raise UnservableModel(
            what, expected=f"its bytes {offset} to {offset + length} in {told['location']}",
            got=f"a file of {len(content)} bytes", hint="The file is truncated. Log the model anew.",
        )  # fmt: skip
    return memoryview(content)[offset : offset + length]


def _number(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise BadDocument(what, expected="a number of bytes", got=repr(text[:40]), hint=_ANEW)
    return int(text)
