"""The manifest: what an artifact consists of and claims. Its sha256 is the artifact's digest, and so its name.

Made by `bundle.py`, trusted only through `verify.py`. Pure: no file is opened here.
Always: one manifest has one byte string (`Manifest.to_bytes`), `read_manifest` accepts no other spelling of it, and
nothing in it tells when, where or by whom it was made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry_client import canonical_json
from registry_client.canonical_json import Fields
from registry_client.errors import BadDocument
from registry_client.names import MODEL_NAME
from registry_client.tensors import FREE_DIMENSION, Datatype, Signature, TensorSpec

FORMAT_VERSION = 1
MANIFEST_FILE, DIGEST_FILE, MODEL_FILE, GOLDEN_FILE = "manifest.json", "manifest.sha256", "model.onnx", "golden.json"
REQUIRED_FILES = frozenset({MODEL_FILE, GOLDEN_FILE})

MANIFEST_BYTES_MAX = 1 << 20
FILES_MAX = 64
FILE_BYTES_MAX = 2**31 - 1
BUNDLE_BYTES_MAX = 4 << 30
TOLERANCE_MAX = 1e-2
"""Of rtol and atol: with more, a golden example of probabilities would say yes to nearly any model."""

_FILE_NAME = MODEL_NAME
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """sha256: lower-case hex. size_bytes: read no further than this."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Tolerance:
    """How far a float of a golden example may be off: |got - expected| <= atol + rtol * |expected|."""

    rtol: float = 1e-5
    atol: float = 1e-6


@dataclass(frozen=True)
class Lineage:
    """Where the model comes from; each part is plain JSON of the pipeline's choosing."""

    data: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """meaning: plain JSON for readers, such as names of columns and what their codes stand for."""

    name: str
    files: Mapping[str, FileEntry]
    signature: Signature
    class_labels: tuple[str | int, ...] | None = None
    tolerance: Tolerance = Tolerance()
    lineage: Lineage = Lineage()
    meaning: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        return canonical_json.encode({
            "format": FORMAT_VERSION,
            "name": self.name,
            "files": {name: {"sha256": file.sha256, "size": file.size_bytes} for name, file in self.files.items()},
            "signature": {"inputs": _tensors(self.signature.inputs), "outputs": _tensors(self.signature.outputs)},
            "class_labels": None if self.class_labels is None else list(self.class_labels),
            "golden_tolerance": {"rtol": self.tolerance.rtol, "atol": self.tolerance.atol},
            "lineage": {
                "data": self.lineage.data, "code": self.lineage.code, "parameters": self.lineage.parameters,
            },
            "meaning": self.meaning,
        })  # fmt: skip

    def digest_line(self) -> bytes:
        """What DIGEST_FILE holds: a line for `sha256sum --check`; it makes damage show without a registry."""
        return f"{self.digest}  {MANIFEST_FILE}\n".encode("ascii")

    @property
    def digest(self) -> str:
        return sha256_hex(self.to_bytes())


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def is_model_name(text: str) -> bool:
    return MODEL_NAME.fullmatch(text) is not None


def check_model_name(name: str, what: str = "name") -> str:
    """A model's name stands in routes, metrics and folders: letters, digits, '.', '_', '-'."""
    if not MODEL_NAME.fullmatch(name):
        raise BadDocument(
            what, expected="1 to 100 letters, digits, '.', '_' or '-', the first a letter or digit",
            got=repr(name[:120]), hint="Choose another name.",
        )  # fmt: skip
    return name


def check_file_name(name: str) -> str:
    """A bundle is flat: no folders, nothing hidden, and so no way out of it."""
    if not _FILE_NAME.fullmatch(name) or name in (MANIFEST_FILE, DIGEST_FILE):
        raise BadDocument(
            f"{MANIFEST_FILE}: files", expected="plain file names of letters, digits, '.', '_', '-', without a folder",
            got=repr(name[:120]), hint="Do not use this bundle: no tool of ours writes such a name.",
        )  # fmt: skip
    return name


def check_digest(digest: str, what: str = "digest") -> str:
    if not _SHA256.fullmatch(digest):
        raise BadDocument(
            what, expected="64 lower-case hex digits", got=repr(digest[:80]), hint="It is the sha256 of manifest.json."
        )
    return digest


def read_manifest(data: bytes) -> Manifest:
    """The manifest in `data`, which must be its canonical bytes. Raises BadDocument, naming the key."""
    if len(data) > MANIFEST_BYTES_MAX:
        raise BadDocument(
            MANIFEST_FILE,
            expected=f"at most {MANIFEST_BYTES_MAX} bytes",
            got=f"{len(data)}",
            hint="Put large lineage or meaning into a file of the bundle.",
        )
    root = Fields(canonical_json.parse(data, MANIFEST_FILE), MANIFEST_FILE)
    version = root.take("format", int)
    if version != FORMAT_VERSION:
        raise BadDocument(
            root.path("format"), expected=f"{FORMAT_VERSION}", got=f"{version}", hint="Use the Roost that wrote it."
        )
    manifest = Manifest(
        name=check_model_name(root.take("name", str), root.path("name")),
        files=_read_files(root.take("files", dict)),
        signature=_read_signature(root.take("signature", dict)),
        class_labels=_read_labels(root.take_optional("class_labels", list)),
        tolerance=_read_tolerance(root.take("golden_tolerance", dict)),
        lineage=read_lineage(root.take("lineage", dict), root.path("lineage")),
        meaning=root.take("meaning", dict),
    )
    root.end()
    if manifest.to_bytes() != data:
        raise BadDocument(
            MANIFEST_FILE,
            expected="canonical JSON (sorted keys, no white space)",
            got="another spelling of it",
            hint="Never edit a manifest: make the bundle anew with roost bundle.",
        )
    return manifest


def read_lineage(document: object, what: str) -> Lineage:
    """Lineage from an object of exactly `data`, `code` and `parameters`."""
    fields = Fields(document, what)
    lineage = Lineage(fields.take("data", dict), fields.take("code", dict), fields.take("parameters", dict))
    fields.end()
    return lineage


def _tensors(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "datatype": spec.datatype.name, "shape": list(spec.shape)} for spec in specs]


def _read_files(document: dict[str, Any]) -> dict[str, FileEntry]:
    what = f"{MANIFEST_FILE}: files"
    if len(document) > FILES_MAX:
        raise BadDocument(what, expected=f"at most {FILES_MAX}", got=f"{len(document)}", hint="Bundle fewer files.")
    files = {}
    for name, entry in document.items():
        fields = Fields(entry, f"{MANIFEST_FILE}: files.{check_file_name(name)}")
        sha256 = check_digest(fields.take("sha256", str), fields.path("sha256"))
        size = fields.take("size", int)
        fields.end()
        if not 0 <= size <= FILE_BYTES_MAX:
            raise BadDocument(
                fields.path("size"), expected=f"0 to {FILE_BYTES_MAX}", got=f"{size}", hint="Make the bundle anew."
            )
        files[name] = FileEntry(sha256, size)
    size_bytes = sum(file.size_bytes for file in files.values())
    if size_bytes > BUNDLE_BYTES_MAX:
        raise BadDocument(
            what, expected=f"at most {BUNDLE_BYTES_MAX} bytes together", got=f"{size_bytes}", hint="Bundle fewer files."
        )
    if missing := sorted(REQUIRED_FILES - files.keys()):
        raise BadDocument(what, expected=f"{missing[0]} among them", got="it missing", hint="Make the bundle anew.")
    return files


def _read_signature(document: dict[str, Any]) -> Signature:
    fields = Fields(document, f"{MANIFEST_FILE}: signature")
    ends = [_read_tensors(fields.take(key, list), fields.path(key)) for key in ("inputs", "outputs")]
    fields.end()
    return Signature(*ends)


def _read_tensors(documents: list[Any], what: str) -> tuple[TensorSpec, ...]:
    specs: list[TensorSpec] = []
    for index, document in enumerate(documents):
        fields = Fields(document, f"{what}[{index}]")
        name, datatype, shape = fields.take("name", str), fields.take("datatype", str), fields.take("shape", list)
        fields.end()
        if not name or name in {spec.name for spec in specs}:
            raise BadDocument(fields.path("name"), expected="a new name", got=repr(name), hint="Make the bundle anew.")
        if any(type(size) is not int or size < FREE_DIMENSION for size in shape):
            got = str(shape)[:80]
            raise BadDocument(
                fields.path("shape"), expected="integers of at least -1", got=got, hint="Make the bundle anew."
            )
        specs.append(TensorSpec(name, read_datatype(datatype, fields.path("datatype")), tuple(shape)))
    if not specs:
        raise BadDocument(what, expected="at least one tensor", got="none", hint="Make the bundle anew.")
    return tuple(specs)


def read_datatype(name: str, what: str) -> Datatype:
    if name not in Datatype.__members__:
        known = ", ".join(Datatype.__members__)
        raise BadDocument(what, expected=f"one of {known}", got=repr(name[:40]), hint="Use the protocol's names.")
    return Datatype[name]


def _read_labels(document: list[Any] | None) -> tuple[str | int, ...] | None:
    if document is None:
        return None
    if not (all(type(label) is int for label in document) or all(type(label) is str for label in document)):
        raise BadDocument(
            f"{MANIFEST_FILE}: class_labels",
            expected="all integers or all strings",
            got=str(document)[:80],
            hint="Make the bundle anew.",
        )
    return tuple(document)


def _read_tolerance(document: dict[str, Any]) -> Tolerance:
    fields = Fields(document, f"{MANIFEST_FILE}: golden_tolerance")
    tolerance = Tolerance(rtol=fields.take("rtol", float), atol=fields.take("atol", float))
    fields.end()
    return check_tolerance(tolerance)


def check_tolerance(tolerance: Tolerance) -> Tolerance:
    for key, value in (("rtol", tolerance.rtol), ("atol", tolerance.atol)):
        if not 0 <= value <= TOLERANCE_MAX:
            raise BadDocument(
                f"{MANIFEST_FILE}: golden_tolerance.{key}",
                expected=f"0 to {TOLERANCE_MAX}",
                got=f"{value}",
                hint="Usual is 1e-5.",
            )
    # An integer 0 would be written as 0 and read back as 0.0: another spelling, another digest.
    return Tolerance(rtol=float(tolerance.rtol), atol=float(tolerance.atol))
