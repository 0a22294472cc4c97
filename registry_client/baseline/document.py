"""The baseline file: for each column of a model's inputs and outputs the bins, and what the reference had in each.

Written when a bundle is made from a reference, read by the worker, which counts rows into these bins, and by control,
which compares. Pure: no file is opened here.
Always: bins are in the order that `Feature.bins` names, counts has one number for each, one baseline has one byte
string, and `read_baseline` accepts no other spelling of it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, Final

from registry_client import canonical_json
from registry_client.canonical_json import Fields
from registry_client.errors import BadDocument

BASELINE_FILE: Final = "baseline.json"
BASELINE_BYTES_MAX: Final = 64 << 20
FORMAT_VERSION: Final = 1

FEATURES_MAX: Final = 4096
POINTS_MAX: Final = 60
NAME_CHARACTERS_MAX: Final = 200
BINS_MAX: Final = 16_384
"""Of inputs and predictions together: a server has room for so many in each of its seats."""
HOURS_OF_WEEK: Final = 168
COUNT_MAX: Final = 2**53

ARGMAX: Final = -1
"""As a column: the place of the largest of the row's values, a category."""


class Kind(Enum):
    """What a feature's points are.

    NUMBER: edges e[0] < ... < e[k], the reference's least and greatest at the ends. Bins: below (x < e[0]), then
    [e[0], e[1]], (e[1], e[2]] to (e[k-1], e[k]], then above (x > e[k]).
    CATEGORY: codes, in rising order. Bins: one for each code, then other.
    Both end with missing (NaN) and non_finite (an infinity).
    """

    NUMBER = "number"
    CATEGORY = "category"


@dataclass(frozen=True)
class Feature:
    """One column of a tensor, and what the reference had in it.

    tensor: the input's or output's name. column: its place in a row, flattened, or ARGMAX. points: see `Kind`.
    counts: rows of the reference by bin. importance: how much the model leans on it, at least 0; None where unknown.
    by_hour: counts by hour of the week (Monday 0:00 UTC first) and bin, where the reference has times.
    """

    name: str
    tensor: str
    column: int
    kind: Kind
    points: tuple[float, ...]
    counts: tuple[int, ...]
    importance: float | None = None
    by_hour: tuple[tuple[int, ...], ...] | None = None

    @property
    def bins(self) -> tuple[str, ...]:
        """Names for people, in the order of `counts`."""
        points = [f"{point:.6g}" for point in self.points]
        if self.kind is Kind.CATEGORY:
            return (*points, "other", "missing", "non-finite")
        inner = [f"{low} to {high}" for low, high in pairwise(points)]
        return (f"below {points[0]}", *inner, f"above {points[-1]}", "missing", "non-finite")

    @property
    def rows(self) -> int:
        return sum(self.counts)


def bin_count(kind: Kind, points: int) -> int:
    """How many bins a feature with so many points has."""
    return points + 3


@dataclass(frozen=True)
class Baseline:
    """rows: of the reference. rank_error: by how much of all rows a number's count may be off, 0 where exact.

    inputs, predictions: columns of input and of output tensors. labels: what came true, where the reference knows it.
    """

    rows: int
    rank_error: float
    inputs: tuple[Feature, ...]
    predictions: tuple[Feature, ...]
    labels: tuple[Feature, ...] = ()

    def to_bytes(self) -> bytes:
        return canonical_json.encode({
            "format": FORMAT_VERSION,
            "rows": self.rows,
            "rank_error": self.rank_error,
            "inputs": [_feature_document(feature) for feature in self.inputs],
            "predictions": [_feature_document(feature) for feature in self.predictions],
            "labels": [_feature_document(feature) for feature in self.labels],
        })  # fmt: skip


def read_baseline(data: bytes) -> Baseline:
    """The baseline in `data`, which must be its canonical bytes. Raises BadDocument, naming the key."""
    if len(data) > BASELINE_BYTES_MAX:
        raise BadDocument(
            BASELINE_FILE,
            expected=f"at most {BASELINE_BYTES_MAX} bytes",
            got=f"{len(data)}",
            hint="Make it without hours of the week, or of fewer features.",
        )
    root = Fields(canonical_json.parse(data, BASELINE_FILE), BASELINE_FILE)
    version = root.take("format", int)
    if version != FORMAT_VERSION:
        raise BadDocument(
            root.path("format"), expected=f"{FORMAT_VERSION}", got=f"{version}", hint="Use the Roost that wrote it."
        )
    rows = _at_least(1, root.take("rows", int), root.path("rows"))
    rank_error = root.take("rank_error", float)
    if not 0 <= rank_error < 1:
        raise BadDocument(root.path("rank_error"), expected="0 to 1", got=f"{rank_error}", hint=_ANEW)
    parts = [_read_features(root.take(key, list), root.path(key)) for key in ("inputs", "predictions", "labels")]
    root.end()
    baseline = Baseline(rows, rank_error, *parts)
    bins = sum(len(feature.counts) for feature in (*baseline.inputs, *baseline.predictions))
    if bins > BINS_MAX:
        raise BadDocument(
            BASELINE_FILE, expected=f"at most {BINS_MAX} bins of all features together", got=f"{bins}",
            hint="Make it with fewer bins or of fewer features: roost bundle --bins.",
        )  # fmt: skip
    if not baseline.inputs:
        raise BadDocument(root.path("inputs"), expected="at least one feature", got="none", hint=_ANEW)
    if baseline.to_bytes() != data:
        raise BadDocument(
            BASELINE_FILE, expected="canonical JSON (sorted keys, no white space)", got="another spelling", hint=_ANEW
        )
    return baseline


_ANEW = "Make the bundle anew with roost bundle --reference."


def _feature_document(feature: Feature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "tensor": feature.tensor,
        "column": feature.column,
        "kind": feature.kind.value,
        "points": list(feature.points),
        "counts": list(feature.counts),
        "importance": feature.importance,
        "by_hour": None if feature.by_hour is None else [list(hour) for hour in feature.by_hour],
    }


def _read_features(documents: list[Any], what: str) -> tuple[Feature, ...]:
    if len(documents) > FEATURES_MAX:
        raise BadDocument(what, expected=f"at most {FEATURES_MAX}", got=f"{len(documents)}", hint="Name fewer.")
    features = tuple(_read_feature(document, f"{what}[{index}]") for index, document in enumerate(documents))
    _check_once([feature.name for feature in features], f"{what}.name")
    _check_once([(feature.tensor, feature.column) for feature in features], f"{what}.column")
    return features


def _check_once(found: Sequence[Hashable], what: str) -> None:
    if len(set(found)) < len(found):
        twice = next(one for one in found if found.count(one) > 1)
        raise BadDocument(what, expected="every one once", got=f"{twice} twice", hint=_ANEW)


def _read_feature(document: object, what: str) -> Feature:
    fields = Fields(document, what)
    name, tensor, column = fields.take("name", str), fields.take("tensor", str), fields.take("column", int)
    kind, points = fields.take("kind", str), fields.take("points", list)
    counts, importance = fields.take("counts", list), fields.take_optional("importance", float)
    by_hour = fields.take_optional("by_hour", list)
    fields.end()
    if kind not in {known.value for known in Kind}:
        raise BadDocument(fields.path("kind"), expected="number or category", got=repr(kind[:40]), hint=_ANEW)
    if not name or not tensor:
        raise BadDocument(fields.path("name"), expected="a name, and a tensor's", got="none", hint=_ANEW)
    if len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise BadDocument(
            fields.path("name"), expected=f"at most {NAME_CHARACTERS_MAX} printable characters", got=repr(name[:40]),
            hint="Names stand in tables, metrics and messages: choose a shorter, plain one.",
        )  # fmt: skip
    _at_least(ARGMAX, column, fields.path("column"))
    _check_points(points, 1 if kind == Kind.CATEGORY.value else 2, fields.path("points"))
    bins = bin_count(Kind(kind), len(points))
    _check_counts(counts, bins, fields.path("counts"))
    if importance is not None and not 0 <= importance < math.inf:
        raise BadDocument(fields.path("importance"), expected="at least 0", got=f"{importance}", hint=_ANEW)
    if by_hour is not None:
        if len(by_hour) != HOURS_OF_WEEK or not all(isinstance(hour, list) for hour in by_hour):
            got = f"{len(by_hour)}"
            raise BadDocument(fields.path("by_hour"), expected=f"{HOURS_OF_WEEK} arrays", got=got, hint=_ANEW)
        for index, hour in enumerate(by_hour):
            _check_counts(hour, bins, f"{fields.path('by_hour')}[{index}]")
    return Feature(
        name, tensor, column, Kind(kind), tuple(float(point) for point in points), tuple(counts), importance,
        None if by_hour is None else tuple(tuple(hour) for hour in by_hour),
    )  # fmt: skip


def _check_points(points: list[Any], least: int, what: str) -> None:
    if not least <= len(points) <= POINTS_MAX:
        raise BadDocument(what, expected=f"{least} to {POINTS_MAX} numbers", got=f"{len(points)}", hint=_ANEW)
    if not all(type(point) in (float, int) for point in points):
        raise BadDocument(what, expected="numbers", got=str(points)[:80], hint=_ANEW)
    for low, high in pairwise(points):
        if not low < high:
            raise BadDocument(what, expected="numbers that increase", got=f"{low}, then {high}", hint=_ANEW)


def _check_counts(counts: list[Any], bins: int, what: str) -> None:
    if len(counts) != bins:
        raise BadDocument(what, expected=f"{bins} counts, one for each bin", got=f"{len(counts)}", hint=_ANEW)
    for count in counts:
        if type(count) is not int or not 0 <= count <= COUNT_MAX:
            raise BadDocument(what, expected="whole numbers of at least 0", got=str(count)[:40], hint=_ANEW)


def _at_least(least: int, found: int, what: str) -> int:
    if found < least:
        raise BadDocument(what, expected=f"at least {least}", got=f"{found}", hint=_ANEW)
    return found
