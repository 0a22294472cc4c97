"""Matrix: training's side of the encoding, on numpy's arrays.

`fit_encoder` learns from training's rows alone what an encoding needs; `Encoder.encode` gives what a learner sees. An
encoder travels as JSON to whoever converts or explains the model. Always: `encode` and the graph's tensor `encoded`
are the same float32, bit for bit, for any input; only the sign of a zero is nobody's promise, and here it is plus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from pipelines.examples import NUMBERS, TEXTS
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.features.plan import (
    Floats,
    OneHotPlan,
    OrdinalPlan,
    Scale,
    cycle_table,
    one_hot_plan,
    ordinal_plan,
    points_of,
)
from pipelines.refusal import Refusal

Kind = Literal["ordinal", "one_hot"]
Inputs = Mapping[str, npt.NDArray[Any]]

PIECE_ROWS: Final = 16_384
"""Encoded at a time, so that what lies between input and result stays in the cache."""
DIGITS: Final = 6
"""Of means and scales: the last bits of a sum over all rows must not name another model."""
SPREAD_SHARE_MIN: Final = 1e-6


@dataclass(frozen=True)
class Encoder:
    """ordinal: a column a feature, NaN where missing or unknown, learns nothing.

    one_hot: scaled numbers, indicators of missing ones, sine and cosine of cycles, a column for each code and word that
    training had; nothing but zeros where unknown. What training never had gets no column: its weight in a network would
    be what chance made it. scales: by number; seen: by code and text; both empty where ordinal.
    """

    features: FeatureSet
    kind: Kind
    scales: Mapping[str, Scale] = field(default_factory=dict)
    seen: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def plan(self) -> OrdinalPlan | OneHotPlan:
        """The constants that both sides use."""
        if self.kind == "ordinal":
            return ordinal_plan(self.features)
        return one_hot_plan(self.features, self.scales, self.seen)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the encoded columns."""
        return tuple(name for name, _ in self._columns)

    @cached_property
    def owners(self) -> npt.NDArray[np.int64]:
        """int64[width]: by encoded column the index in `features.names` of the feature that it tells of."""
        return np.array([owner for _, owner in self._columns], dtype=np.int64)

    @property
    def width(self) -> int:
        """Encoded columns."""
        return len(self._columns)

    def encode(self, inputs: Inputs) -> Floats:
        """float32[rows, width] of `features` float32[rows, k] and, where declared, `texts` of str [rows, m].

        Raises Refusal where an input is missing or of another form; no value is refused.
        """
        numbers, texts = _checked(self.features, inputs)
        encoded = np.empty((len(numbers), self.width), np.float32)
        words = [_lookup(feature) for feature in self.features.texts]
        for first in range(0, len(numbers), PIECE_ROWS):
            piece = slice(first, first + PIECE_ROWS)
            columns = [numbers[piece], *(_places(texts[piece, index], known) for index, known in enumerate(words))]
            raw = np.hstack(columns)
            match self.plan:
                case OrdinalPlan() as plan:
                    encoded[piece] = _ordinal(plan, raw)
                case OneHotPlan() as plan:
                    encoded[piece] = _one_hot(plan, raw)
        return encoded

    def as_json(self) -> dict[str, object]:
        """What `from_json` takes, and the columns' names for whoever reads it."""
        return {
            "kind": self.kind,
            "names": list(self.names),
            "scales": {
                name: {"mean": scale.mean, "scale": scale.scale, "missing": scale.missing}
                for name, scale in self.scales.items()
            },
            "seen": {name: list(codes) for name, codes in self.seen.items()},
        }

    @staticmethod
    def from_json(features: FeatureSet, document: Any) -> Encoder:
        """The encoder that wrote it. Raises Refusal where it is of other features."""
        try:
            encoder = Encoder(
                features,
                _kind(document["kind"]),
                {
                    name: Scale(float(entry["mean"]), float(entry["scale"]), bool(entry["missing"]))
                    for name, entry in document["scales"].items()
                },
                {name: tuple(map(int, codes)) for name, codes in document["seen"].items()},
            )
            same = list(encoder.names) == document["names"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise _stale(f"{type(error).__name__}: {error}"[:120]) from error
        if not same:
            raise _stale("one with other columns")
        return encoder

    @cached_property
    def _columns(self) -> list[tuple[str, int]]:
        """(name, owner) by encoded column."""
        everything = list(enumerate(self.features.ordered))
        if self.kind == "ordinal":
            return [(feature.name, owner) for owner, feature in everything]
        numbers = [(owner, feature.name) for owner, feature in everything if isinstance(feature, Number)]
        columns = [(name, owner) for owner, name in numbers]
        columns += [(f"{name} missing", owner) for owner, name in numbers if self.scales[name].missing]
        for owner, feature in everything:
            if isinstance(feature, Cycle):
                columns += [(f"{feature.name} sine", owner), (f"{feature.name} cosine", owner)]
        for owner, feature in everything:
            if isinstance(feature, Code | Text):
                columns += [(_choice(feature, code), owner) for code in self.seen[feature.name]]
        return columns


def fit_encoder(features: FeatureSet, kind: Kind, inputs: Inputs, *, gaps: bool = False) -> Encoder:
    """Learns from training's inputs, and from nothing else. Raises Refusal where one is missing or of another form.

    gaps: whether the learner is shown rows with further values missing, so that every number has its indicator.
    """
    numbers, texts = _checked(features, inputs)
    if not len(numbers):
        raise Refusal("features", expected="rows to learn from", got="none", hint="Run the features stage again.")
    if kind == "ordinal":
        return Encoder(features, kind)
    scales: dict[str, Scale] = {}
    seen: dict[str, tuple[int, ...]] = {}
    for index, feature in enumerate(features.numbers):
        if isinstance(feature, Number):
            scales[feature.name] = _scale(feature, numbers[:, index], gaps)
        elif isinstance(feature, Code):
            seen[feature.name] = _seen(feature, numbers[:, index])
    for index, text in enumerate(features.texts):
        seen[text.name] = _seen(text, _places(texts[:, index], _lookup(text))[:, 0])
    return Encoder(features, kind, scales, seen)


def _known(plan: OrdinalPlan | OneHotPlan, raw: Floats) -> npt.NDArray[np.bool_]:
    """Within bounds, and a whole number where only such are known."""
    known: npt.NDArray[np.bool_] = (raw >= plan.low) & (raw <= plan.high) & (~plan.whole | (raw == np.floor(raw)))
    return known


def _ordinal(plan: OrdinalPlan, raw: Floats) -> Floats:
    known = _known(plan, raw)
    for column in np.unique(plan.gapped):
        known[:, column] &= np.isin(raw[:, column], plan.gapped_codes[plan.gapped == column])
    # Plus nothing: -0.0 becomes 0.0, as in ONNX Runtime's Where.
    return np.where(known, raw, np.float32(np.nan)) + np.float32(0)


def _one_hot(plan: OneHotPlan, raw: Floats) -> Floats:
    known = _known(plan, raw)
    centred = np.where(known, raw - plan.origin, np.float32(0))
    # Plus nothing: -0.0 becomes 0.0, as where the graph adds up products.
    scaled = centred[:, plan.numbers] * plan.scale + np.float32(0)
    waves = cycle_table()[(centred[:, plan.cycles] * plan.steps).astype(np.int64)].reshape(len(raw), -1)
    choices = centred[:, plan.owners] == plan.codes
    return np.hstack([scaled, ~known[:, plan.missing], waves, choices], dtype=np.float32)


def _scale(feature: Number, values: Floats, gaps: bool) -> Scale:
    known = (values >= np.float32(feature.low)) & (values <= np.float32(feature.high))
    width = feature.high - feature.low
    # A number that training never had stays near 0 wherever a caller has it.
    mean, spread = feature.low + width / 2, 0.0
    if known.any():
        there = values[known].astype(np.float64)
        mean, spread = float(there.mean()), float(there.std())
    if spread <= width * SPREAD_SHARE_MIN:
        spread = width / 2
    return Scale(_short(mean), _short(1 / spread), gaps or not bool(known.all()))


def _short(value: float) -> float:
    """What float32 makes of the first few digits."""
    return float(np.float32(f"{value:.{DIGITS}g}"))


def _seen(feature: Code | Text, values: Floats) -> tuple[int, ...]:
    points = points_of(feature)
    there = np.isin(np.array(points, dtype=np.float32), values)
    return tuple(code for code, seen in zip(points, there, strict=True) if seen)


def _choice(feature: Code | Text, code: int) -> str:
    return f"{feature.name}={code if isinstance(feature, Code) else feature.values[code]}"


def _lookup(feature: Text) -> dict[str | bytes, float]:
    # As bytes, too: so they are in the bundle's golden examples, and no word should be unknown for that.
    places: dict[str | bytes, float] = {}
    for place, value in enumerate(feature.values):
        places[value] = places[value.encode()] = float(place)
    return places


def _places(words: npt.NDArray[Any], known: Mapping[str | bytes, float]) -> Floats:
    """float32[rows, 1]: the words' places in their feature's values, NaN where unknown."""
    return np.array([known.get(word, np.nan) for word in words.tolist()], dtype=np.float32).reshape(-1, 1)


def _checked(features: FeatureSet, inputs: Inputs) -> tuple[Floats, npt.NDArray[Any]]:
    """(numbers, texts), where texts is [rows, 0] if none are declared."""
    for name, width in ((NUMBERS, len(features.numbers)), (TEXTS, len(features.texts))):
        if not width and name not in inputs:
            continue
        got = inputs.get(name)
        right = got is not None and got.ndim == 2 and got.shape[1] == width
        if not right or (name == NUMBERS and got is not None and got.dtype != np.float32):
            kind = "float32" if name == NUMBERS else "texts"
            form = "none" if got is None else f"{got.dtype}{list(got.shape)}"
            raise Refusal(
                f"inputs[{name}]", expected=f"{kind}[rows, {width}]", got=form,
                hint="The features' declaration gives the columns.",
            )  # fmt: skip
    numbers = inputs[NUMBERS]
    texts = inputs[TEXTS] if features.texts else np.empty((len(numbers), 0), object)
    if len(texts) != len(numbers):
        raise Refusal(
            f"inputs[{TEXTS}]", expected=f"{len(numbers)} rows, as {NUMBERS} has", got=f"{len(texts)}",
            hint="Give both of the same rows.",
        )  # fmt: skip
    return numbers, texts


def _kind(value: object) -> Kind:
    for kind in get_args(Kind):
        if value == kind:
            found: Kind = kind
            return found
    raise ValueError(f"no kind of encoding: {value!r}"[:80])


def _stale(got: str) -> Refusal:
    return Refusal(
        "encoder.json", expected="an encoder of these features", got=got, hint="Run the train stage again."
    )
