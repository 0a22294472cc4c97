"""Recordings: how a file of answered rows is laid out, by what names its columns go.

A worker that records writes such files, `roost replay` reads them. Pure: names in, names out.
Always: a file says itself which of its columns feed which tensor, so that nothing has to be guessed from names; each
column has a name of its own; what was left out is named, and is nowhere in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from registry_client import canonical_json
from registry_client.baseline.document import Feature
from registry_client.canonical_json import Fields
from registry_client.errors import BadDocument
from registry_client.tensors import Signature, TensorSpec

METADATA_KEY: Final = b"roost.recording"
FORMAT_VERSION: Final = 1

TIME: Final = "time_utc"
KEY_BUCKET: Final = "key_bucket"
VERSION: Final = "version"
DIGEST: Final = "digest"
VARIANT: Final = "variant"
OWN_COLUMNS: Final = (TIME, KEY_BUCKET, VERSION, DIGEST, VARIANT)
"""When a row was answered; its key's bucket, none where it had no key; by which version, artifact and variant."""


@dataclass(frozen=True)
class Recording:
    """inputs, outputs: by tensor the names of its columns, in the order of its elements, those left out too.

    redacted: names that were left out.
    """

    inputs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, tuple[str, ...]]
    redacted: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of tensors that a file has, inputs first."""
        names = [name for tensors in (self.inputs, self.outputs) for part in tensors.values() for name in part]
        return tuple(name for name in names if name not in self.redacted)

    def lacks(self, feature: Feature, tensors: Mapping[str, tuple[str, ...]]) -> bool:
        """Whether the feature can't be computed from the file. tensors: `inputs` or `outputs`, whose it is."""
        names = tensors.get(feature.tensor, ())
        if not names:
            return True
        needed = names if feature.column < 0 else names[feature.column : feature.column + 1]
        return bool(self.redacted.intersection(needed))

    def to_bytes(self) -> bytes:
        return canonical_json.encode({
            "format": FORMAT_VERSION,
            "inputs": {tensor: list(names) for tensor, names in self.inputs.items()},
            "outputs": {tensor: list(names) for tensor, names in self.outputs.items()},
            "redacted": sorted(self.redacted),
        })  # fmt: skip


def recording_of(
    signature: Signature, inputs: Sequence[Feature], outputs: Sequence[Feature], redact: Iterable[str]
) -> Recording:
    """How rows of such a model are recorded. All its tensors must have columns.

    inputs, outputs: features of its baseline, none where it has none: a column goes by its feature's name, else by its
    tensor's, with `:0`, `:1` and so on where there are several. redact: names of columns, or of tensors for all of
    theirs; those that the model does not have are nobody's.
    """
    wanted, taken = frozenset(redact), set(OWN_COLUMNS)
    named_inputs = {spec.name: _names(spec, inputs, taken) for spec in signature.inputs}
    named_outputs = {spec.name: _names(spec, outputs, taken) for spec in signature.outputs}
    redacted = {
        name
        for tensors in (named_inputs, named_outputs)
        for tensor, names in tensors.items()
        for name in names
        if tensor in wanted or name in wanted
    }
    return Recording(named_inputs, named_outputs, frozenset(redacted))


def read_recording(metadata: Mapping[bytes, bytes], what: str) -> Recording | None:
    """What a file's metadata says; None where it is no recording. what: for messages. Raises BadDocument."""
    data = metadata.get(METADATA_KEY)
    if data is None:
        return None
    root = Fields(canonical_json.parse(data, what), what)
    version = root.take("format", int)
    if version != FORMAT_VERSION:
        raise BadDocument(
            root.path("format"), expected=f"{FORMAT_VERSION}", got=f"{version}", hint="Use the Roost that wrote it."
        )
    inputs, outputs = (_read_tensors(root.take(key, dict), root.path(key)) for key in ("inputs", "outputs"))
    redacted = root.take("redacted", list)
    root.end()
    return Recording(inputs, outputs, frozenset(map(str, redacted)))


def _read_tensors(document: Mapping[str, Any], what: str) -> dict[str, tuple[str, ...]]:
    for tensor, names in document.items():
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise BadDocument(
                f"{what}.{tensor}", expected="names of columns", got=str(names)[:40],
                hint="Give the file as it was recorded.",
            )  # fmt: skip
    return {tensor: tuple(names) for tensor, names in document.items()}


def _names(spec: TensorSpec, features: Sequence[Feature], taken: set[str]) -> tuple[str, ...]:
    """Each not `taken` before, which they are from now on."""
    known = {feature.column: feature.name for feature in features if feature.tensor == spec.name}
    names = []
    for column in range(spec.row_elements):
        plain = spec.name if spec.row_elements == 1 else f"{spec.name}:{column}"
        name = known.get(column, plain)
        if name == f"{spec.name}[{column}]" or name in taken:  # what a baseline calls a column without a name
            name = plain
        while name in taken:
            name += "'"
        taken.add(name)
        names.append(name)
    return tuple(names)
