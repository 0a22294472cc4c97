"""Which of a file's columns feed which tensor of a model. Pure: names in, names out.

Used by `rows.py`. Always: a tensor of numbers gets as many columns as it has, or one list column; what cannot be told
from the names is refused with the names that were found, and can be said in a mapping file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from registry_client.baseline.parquet import Content, FileColumn
from registry_client.baseline.values import has_columns
from registry_client.canonical_json import type_name
from registry_client.errors import BadDocument
from registry_client.tensors import Datatype, Signature, TensorSpec

_BY_FILE = "Name them in a file: --columns '{\"TENSOR\": [\"COLUMN\", ...]}', see docs/concepts/baselines.md."


@dataclass(frozen=True)
class Known:
    """What the names are looked up in. file: for messages. columns: the file's. reserved: times and labels, which feed
    nothing. meaning: names for the columns of a single input. explicit: the mapping file, by tensor.
    """

    file: str
    columns: tuple[FileColumn, ...]
    reserved: frozenset[str] = frozenset()
    meaning: tuple[str, ...] = ()
    explicit: Mapping[str, tuple[str, ...]] | None = None

    def has(self, name: str) -> bool:
        return name in self.free()

    def is_list(self, name: str) -> bool:
        return any(column.name == name and column.is_list for column in self.columns)

    def free(self) -> list[str]:
        return [column.name for column in self.columns if column.name not in self.reserved]

    def find(self, name: str, what: str) -> FileColumn:
        """The column of this name. Raises BadDocument where the file has none."""
        column = next((column for column in self.columns if column.name == name), None)
        if column is None:
            names = ", ".join(column.name for column in self.columns)
            raise BadDocument(
                f"{self.file}: column {name!r}", expected=f"the column, {what}", got=f"none; there are {names[:300]}",
                hint="Check the names.",
            )  # fmt: skip
        return column

    def check(self, name: str, wanted: Content, what: str, *, may_be_list: bool = False) -> None:
        """Raises BadDocument where the file has no such column, or it holds something else."""
        column = self.find(name, what)
        if column.content is not wanted or (column.is_list and not may_be_list):
            raise BadDocument(
                f"{self.file}: column {name!r}", expected=f"{wanted.value}, {what}", got=column.type_name,
                hint=_REMEDIES[wanted],
            )  # fmt: skip


_REMEDIES = {
    Content.NUMBERS: "Write the numbers that the model is fed, such as codes in place of words.",
    Content.TIMES: "Write timestamps or dates.",
    Content.TEXT: "Write the text that the model is fed.",
    Content.OTHER: "Write another type.",
}


def map_columns(signature: Signature, known: Known) -> dict[str, tuple[str, ...]]:
    """By input the columns that feed it, in the order of its own. Raises BadDocument.

    An input that has no features (text, free sizes) is left out where the file has nothing for it: then the model
    cannot be run.
    """
    _check_explicit(signature, known)
    alone = len(signature.inputs) == 1
    mapped = {}
    for spec in signature.inputs:
        found = _columns_of(spec, known, alone)
        if not found and has_columns(spec):
            names = ", ".join(known.free())
            expected = f"a column {spec.name!r}"
            if spec.row_elements > 1:
                expected = f"{spec.row_elements} columns {spec.name + ':...'!r}, or a list column {spec.name!r}"
            raise BadDocument(
                f"input {spec.name!r}", expected=f"{expected} in {known.file}", got=names[:300] or "none", hint=_BY_FILE
            )
        if not found:
            continue
        if has_columns(spec):
            _check_width(spec, found, known)
        wanted = Content.TEXT if spec.datatype is Datatype.BYTES else Content.NUMBERS
        for name in found:
            known.check(name, wanted, f"for input {spec.name!r} ({spec.datatype.name})", may_be_list=True)
        mapped[spec.name] = found
    return mapped


def read_mapping(document: Mapping[str, Any], what: str) -> dict[str, tuple[str, ...]]:
    """The mapping file's content: a column's name or an array of them for each tensor."""
    mapped = {}
    for tensor, names in document.items():
        listed: object = [names] if isinstance(names, str) else names
        if not isinstance(listed, list) or not listed or not all(isinstance(name, str) for name in listed):
            raise BadDocument(
                f"{what}: {tensor}", expected="a column's name, or an array of such names", got=type_name(names),
                hint="One name for each column of the tensor, in its order.",
            )  # fmt: skip
        mapped[tensor] = tuple(listed)
    return mapped


def meaning_columns(meaning: Mapping[str, Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of columns that a bundle's `meaning` gives, and those of them that have codes; nothing where it has none.

    Read are `features` or `columns`: an array of names, or of objects with `name` and maybe `codes`.
    """
    found = [meaning[key] for key in ("features", "columns") if isinstance(meaning.get(key), list)]
    listed: list[Any] = found[0] if found else []
    names: list[str] = []
    coded: set[str] = set()
    for entry in listed:
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(name, str):
            return (), frozenset()
        names.append(name)
        if isinstance(entry, dict) and entry.get("codes"):
            coded.add(name)
    return tuple(names), frozenset(coded)


def meaning_codes(meaning: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What a bundle's `meaning` says that codes stand for: by column, by the code as text."""
    found: dict[str, dict[str, str]] = {}
    for key in ("features", "columns"):
        for entry in meaning[key] if isinstance(meaning.get(key), list) else ():
            codes = entry.get("codes") if isinstance(entry, dict) else None
            if isinstance(codes, dict) and isinstance(entry.get("name"), str):
                found[entry["name"]] = {code: str(text) for code, text in codes.items()}
    return found


def _columns_of(spec: TensorSpec, known: Known, alone: bool) -> tuple[str, ...]:
    if known.explicit is not None and spec.name in known.explicit:
        return known.explicit[spec.name]
    one_column = not has_columns(spec) or spec.row_elements == 1
    if known.has(spec.name) and (one_column or known.is_list(spec.name)):
        return (spec.name,)
    if prefixed := [name for name in known.free() if name.startswith(f"{spec.name}:")]:
        places = [name.removeprefix(f"{spec.name}:") for name in prefixed]
        if all(place.isdecimal() for place in places):
            prefixed.sort(key=lambda name: int(name.removeprefix(f"{spec.name}:")))
        return tuple(prefixed)
    if alone and has_columns(spec):
        return known.meaning if len(known.meaning) == spec.row_elements else tuple(known.free())
    return ()


def _check_width(spec: TensorSpec, found: tuple[str, ...], known: Known) -> None:
    lists = [name for name in found if known.is_list(name)]
    if lists and len(found) > 1:
        raise BadDocument(
            f"{known.file}: column {lists[0]!r}", expected="numbers, or one list column alone",
            got="a list among others", hint=_BY_FILE,
        )  # fmt: skip
    if not lists and len(found) != spec.row_elements:
        raise BadDocument(
            f"input {spec.name!r}", expected=f"{spec.row_elements} columns",
            got=f"{len(found)} in {known.file}: {', '.join(found)[:300]}", hint=_BY_FILE,
        )  # fmt: skip


def _check_explicit(signature: Signature, known: Known) -> None:
    names = [spec.name for spec in signature.inputs]
    if unknown := sorted(set(known.explicit or {}) - set(names)):
        raise BadDocument(
            "--columns", expected=f"inputs of the model: {', '.join(names)[:300]}", got=repr(unknown[0][:80]),
            hint="Use the model's names; roost bundle's manifest lists them.",
        )  # fmt: skip
