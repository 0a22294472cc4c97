"""Canonical JSON: one byte string for one document, and a parser that accepts nothing ambiguous.

Used for manifests (whose digest is the artifact's name), golden examples and the folder registry's index.
Always: `parse(encode(x)) == x`, `encode(parse(b)) == b` for every b that `encode` made, and no NaN or infinity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from registry_client.errors import BadDocument

T = TypeVar("T")

_NAMES_OF_TYPES = {
    dict: "an object", list: "an array", str: "a string", int: "an integer", float: "a number", bool: "true or false",
}  # fmt: skip


def encode(document: object) -> bytes:
    """ASCII bytes with sorted keys and no white space. A float is written as its shortest exact repr."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def check_encodable(document: object, what: str) -> None:
    """Refuse what JSON cannot hold, or would silently change (a tuple, a key that is no string, a NaN)."""
    try:
        unchanged = parse(encode(document), what) == document
    except (TypeError, ValueError, RecursionError) as error:
        raise BadDocument(what, expected="plain JSON", got=str(error), hint=_PLAIN_HINT) from error
    if not unchanged:
        raise BadDocument(what, expected="plain JSON", got="values that JSON would change", hint=_PLAIN_HINT)


_PLAIN_HINT = "Use objects with string keys, arrays, strings, finite numbers, true, false and null."


def parse(data: bytes, what: str) -> Any:
    """The document in `data`. Refuses duplicate keys, NaN, invalid UTF-8 and deep nesting, naming `what`."""

    def pairs_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            # In one pass: others wrote it, and it may have a hundred thousand keys.
            left = list(fields)[::-1]
            twice = next(key for key, _ in pairs if not left or key != left.pop())
            raise BadDocument(f"{what}: {twice}", expected="every key once", got="the key twice", hint="Remove one.")
        return fields

    def refuse_constant(constant: str) -> NoReturn:
        raise BadDocument(what, expected="finite numbers", got=constant, hint="JSON has no such number.")

    def finite(text: str) -> float:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            refuse_constant(text)
        return number

    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=pairs_without_duplicates,
            parse_constant=refuse_constant,
            parse_float=finite,
        )
    except (ValueError, RecursionError) as error:
        got = str(error) or type(error).__name__
        raise BadDocument(what, expected="a JSON document", got=got, hint="Write the file anew.") from error


class Fields:
    """Strict access to one JSON object: each key is taken once, with its type, and none may be left over."""

    def __init__(self, document: object, what: str) -> None:
        if not isinstance(document, dict):
            raise BadDocument(what, expected="an object", got=type_name(document), hint="Write the file anew.")
        self._what = what
        self._left: dict[str, Any] = dict(document)

    def take(self, key: str, kind: type[T]) -> T:
        if key not in self._left:
            raise BadDocument(self.path(key), expected="the key", got="none", hint="Add it.")
        found = self._left.pop(key)
        if kind is float and type(found) is int:
            found = float(found)
        # `type() is`: a bool is an int to isinstance, and must not pass for a size or a version.
        if type(found) is not kind:
            expected = _NAMES_OF_TYPES[kind]
            raise BadDocument(self.path(key), expected=expected, got=type_name(found), hint="Correct its type.")
        return found

    def has(self, key: str) -> bool:
        """True where the key is there and not taken yet."""
        return key in self._left

    def take_optional(self, key: str, kind: type[T]) -> T | None:
        """None where the key is there and null: a key may not be absent."""
        if key in self._left and self._left[key] is None:
            del self._left[key]
            return None
        return self.take(key, kind)

    def end(self) -> None:
        if self._left:
            key = min(self._left)
            raise BadDocument(
                self.path(key), expected="no such key", got="one", hint="Remove it, or use a newer Roost that knows it."
            )

    def path(self, key: str) -> str:
        return f"{self._what}: {key}" if ": " not in self._what else f"{self._what}.{key}"


def type_name(value: object) -> str:
    return "null" if value is None else _NAMES_OF_TYPES.get(type(value), type(value).__name__)


def as_strings(document: Mapping[str, Any], what: str) -> dict[str, str]:
    """The mapping, of which every value must be a string."""
    for key, value in document.items():
        if not isinstance(value, str):
            raise BadDocument(f"{what}.{key}", expected="a string", got=type_name(value), hint="Quote it.")
    return dict(document)
