"""Manifests, reports and attachments as parts of a lineage: what is understood by name, the rest by dotted path.

Used by `gathering.py`. Pure. Always: nothing of a document is lost: what is not of the form that our pipeline writes
goes into the part's `other`, so that bundles that others made are shown as well, and compared as completely.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from registry_client import canonical_json
from registry_client.errors import BadDocument
from registry_client.lineage.document import (
    DEPTH_MAX,
    Code,
    Commit,
    Data,
    Gate,
    Load,
    Named,
    Origin,
    Provenance,
    Sample,
    Table,
)
from registry_client.verify import VerifiedBundle

EVALUATION_FILE: Final = "evaluation.json"
SAMPLES: Final = ("training", "evaluation")
GATES_MAX: Final = 1000

_DIGEST: Final = re.compile(r"[0-9a-f]{8,128}")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_ROWS_MAX: Final = 2**63
_HINT: Final = "It is not what our pipeline writes: see who attached it."

T = TypeVar("T")


def origin(bundle: VerifiedBundle) -> Origin:
    """What the bundle says of itself. Raises BadDocument where its evaluation is none."""
    manifest = bundle.manifest
    found = bundle.files.get(EVALUATION_FILE)
    gates = None if found is None else read_gates(read_object(found, EVALUATION_FILE), EVALUATION_FILE)
    return Origin(manifest, bundle.digest, *_parts(bundle), gates)


def origin_without_gates(bundle: VerifiedBundle) -> Origin:
    """The same where the evaluation in the bundle can't be read."""
    return Origin(bundle.manifest, bundle.digest, *_parts(bundle))


def _parts(bundle: VerifiedBundle) -> tuple[Data, Code, Mapping[str, Any]]:
    lineage = bundle.manifest.lineage
    return read_data(lineage.data), read_code(lineage.code), flat(lineage.parameters)


def read_object(content: bytes, what: str) -> dict[str, Any]:
    """One JSON object, nested no deeper than DEPTH_MAX. Raises BadDocument."""
    found = canonical_json.parse(content, what)
    if not isinstance(found, dict):
        raise BadDocument(what, expected="an object", got=canonical_json.type_name(found), hint=_HINT)
    level: list[Any] = [found]
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH_MAX:
            raise BadDocument(what, expected=f"at most {DEPTH_MAX} levels", got="more", hint=_HINT)
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return found


def flat(document: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Leaves by dotted path, in the order of keys: `train.trees.count`. Lists of plain values are leaves.

    A key that is no plain word is quoted, so that two documents that differ have different leaves.
    """
    found: dict[str, Any] = {}
    left: list[tuple[str, Any]] = [(path, document)] if document else []
    while left:
        place, value = left.pop()
        if isinstance(value, Mapping) and value:
            left += [(_joined(place, key), inner) for key, inner in sorted(value.items(), reverse=True)]
        elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
            left += [(f"{place}[{index}]", inner) for index, inner in reversed(list(enumerate(value)))]
        else:
            found[place] = value
    return found


def read_data(document: Mapping[str, Any]) -> Data:
    """`tables`, `training`, `evaluation` and `source` of a manifest's lineage."""
    left = dict(document)
    tables: list[Table] = []
    strangers: dict[str, Any] = {}
    for name, entry in sorted(_take(left, "tables", dict, {}).items()):
        table, rest = _table(name, entry)
        tables += [] if table is None else [table]
        strangers |= {name: rest} if rest or table is None else {}
    if strangers:
        left["tables"] = strangers
    samples = [sample for name in SAMPLES if (sample := _sample(left, name)) is not None]
    source = flat(_take(left, "source", dict, {}))
    return Data(tuple(tables), tuple(samples), source, flat(left))


def read_code(document: Mapping[str, Any]) -> Code:
    """`sha256`, `files`, `libraries` and `python` of a manifest's lineage."""
    left = dict(document)
    files = _take_texts(left, "files")
    libraries = _take_texts(left, "libraries")
    return Code(_take_digest(left, "sha256"), files, libraries, _take(left, "python", str, None), flat(left))


def read_gates(document: Mapping[str, Any], what: str) -> tuple[Gate, ...] | None:
    """Those of an evaluation's report, or of measured speeds; None where it lists none. Raises BadDocument."""
    found = document.get("gates")
    if found is None:
        return None
    if not isinstance(found, list) or len(found) > GATES_MAX or not all(isinstance(gate, dict) for gate in found):
        got = f"{len(found)}, or others" if isinstance(found, list) else canonical_json.type_name(found)
        raise BadDocument(f"{what}: gates", expected=f"at most {GATES_MAX} objects", got=got, hint=_HINT)
    return tuple(_gate(gate) for gate in found)


def read_provenance(document: Mapping[str, Any], what: str) -> Provenance:
    """What the register stage attached. Raises BadDocument where its speeds are no gates."""
    left = dict(document)
    run, measured = _take(left, "mlflow", dict, {}), _take(left, "measured", dict, {})
    speed = read_gates(measured, f"{what}: measured") or ()
    if rest := {key: value for key, value in measured.items() if key != "gates"}:
        left["measured"] = rest
    return Provenance(
        commit=_commit(left),
        made_at_utc=_take(left, "made_at_utc", str, None),
        host=_take(left, "host", str, None),
        python=_take(left, "python", str, None),
        run=flat(run),
        parent=_named(left, "parent"),
        speed=speed,
        other={key: value for key, value in flat(left).items() if value is not None},
    )


def _joined(place: str, key: str) -> str:
    name = key if _PLAIN_KEY.fullmatch(key) else json.dumps(key)
    return f"{place}.{name}" if place else name


def _table(name: str, entry: Any) -> tuple[Table | None, Any]:
    """The table, and what of its entry is not understood."""
    if not isinstance(entry, dict):
        return None, entry
    left = dict(entry)
    loads: list[Load] = []
    strangers: dict[str, Any] = {}
    for load, inner in sorted(_take(left, "loads", dict, {}).items()):
        rest = dict(inner) if isinstance(inner, dict) else inner
        if isinstance(rest, dict):
            loads.append(Load(load, _take_count(rest, "rows"), _take_digest(rest, "digest")))
        strangers |= {load: rest} if rest or not isinstance(inner, dict) else {}
    if strangers:
        left["loads"] = strangers
    version, rows = _take_count(left, "version"), _take_count(left, "rows")
    return Table(name, version, rows, _take_digest(left, "digest"), tuple(loads)), left


def _sample(left: dict[str, Any], name: str) -> Sample | None:
    entry = _take(left, name, dict, None)
    if entry is None:
        return None
    rest = dict(entry)
    sample = Sample(
        name,
        rows=_take_count(rest, "rows"),
        digest=_take_digest(rest, "digest") or _take_digest(rest, "sha256"),
        from_utc=_take(rest, "from_utc", str, None),
        to_utc=_take(rest, "to_utc", str, None),
    )
    if rest:
        left[name] = rest
    return sample


def _gate(entry: Mapping[str, Any]) -> Gate:
    passed, rows = entry.get("passed"), entry.get("rows")
    return Gate(
        name=str(entry.get("name", "")),
        measured=_number(entry.get("measured")),
        bound=_number(entry.get("bound")),
        sense=str(entry.get("sense", "")),
        passed=passed if isinstance(passed, bool) else None,
        on=str(entry.get("on", "")),
        rows=rows if type(rows) is int and 0 <= rows < _ROWS_MAX else None,
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits is JSON too
        return None
    return number if math.isfinite(number) else None


def _commit(left: dict[str, Any]) -> Commit | None:
    entry = _take(left, "git", dict, None)
    if entry is None:
        return None
    rest = dict(entry)
    commit, dirty = _take(rest, "commit", str, None), _take(rest, "dirty", bool, None)
    if rest:
        left["git"] = rest
    return None if commit is None else Commit(commit, dirty)


def _named(left: dict[str, Any], key: str) -> Named | None:
    """A version with its digest; it stays where it was if it has none."""
    entry = left.get(key)
    if not isinstance(entry, dict):
        return None
    rest = dict(entry)
    version, digest = _take_count(rest, "version"), _take_digest(rest, "digest")
    if digest is None or rest:
        return None
    del left[key]
    return Named(version, digest)


def _take(left: dict[str, Any], key: str, kind: type[T], otherwise: Any) -> Any:
    """The value under `key`, taken out, where it is of that type. An empty object is left: it says nothing."""
    found = left.get(key)
    if type(found) is not kind or found == {}:
        return otherwise
    return left.pop(key)


def _take_count(left: dict[str, Any], key: str) -> int | None:
    found = left.get(key)
    if type(found) is not int or not 0 <= found < _ROWS_MAX:
        return None
    del left[key]
    return found


def _take_digest(left: dict[str, Any], key: str) -> str | None:
    found = left.get(key)
    if not isinstance(found, str) or not _DIGEST.fullmatch(found):
        return None
    del left[key]
    return found


def _take_texts(left: dict[str, Any], key: str) -> dict[str, str]:
    """Text by name; what is no text stays."""
    found = _take(left, key, dict, {})
    texts = {name: value for name, value in sorted(found.items()) if isinstance(value, str)}
    if rest := {name: value for name, value in found.items() if name not in texts}:
        left[key] = rest
    return texts
