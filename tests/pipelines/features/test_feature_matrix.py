"""Training's side: what a learner sees of a row, and what is learnt from training's rows to show it so."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.examples import NUMBERS, TEXTS
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.features.matrix import Encoder, fit_encoder
from pipelines.features.plan import CYCLE_STEPS, cycle_table
from pipelines.refusal import Refusal
from tests.oracles import encoding as oracle
from tests.pipelines.features.encoded_rows import OF_ALL_KINDS, bits, numbers
from tests.pipelines.features.hostile_rows import hostile_inputs

AGE = Number("age", "age", 0, 130, "years")
SEX = Code("sex", "sex", {1: "male", 2: "female"})


def by_name(encoder: Encoder, inputs: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return dict(zip(encoder.names, encoder.encode(inputs).T.tolist(), strict=True))


@given(hostile_inputs(OF_ALL_KINDS))
@settings(max_examples=40, deadline=None)
def test_trees_see_each_known_value_as_it_is_and_nan_for_the_rest(inputs: dict[str, np.ndarray]) -> None:
    encoded = fit_encoder(OF_ALL_KINDS, "ordinal", inputs).encode(inputs)
    expected = [
        oracle.ordinal(OF_ALL_KINDS, row.tolist(), words.tolist())
        for row, words in zip(inputs[NUMBERS], inputs[TEXTS], strict=True)
    ]
    assert np.array_equal(bits(encoded), bits(np.array(expected, dtype=np.float32)))
    assert not np.signbit(encoded[encoded == 0]).any()


@given(hostile_inputs(OF_ALL_KINDS), hostile_inputs(OF_ALL_KINDS))
@settings(max_examples=40, deadline=None)
def test_a_network_sees_the_known_code_or_word_and_no_other(
    training: dict[str, np.ndarray], inputs: dict[str, np.ndarray]
) -> None:
    encoder = fit_encoder(OF_ALL_KINDS, "one_hot", training)
    choices = [name for name in encoder.names if "=" in name]
    encoded = encoder.encode(inputs)
    columns = dict(zip(encoder.names, encoded.T.tolist(), strict=True))
    for row, (values, words) in enumerate(zip(inputs[NUMBERS], inputs[TEXTS], strict=True)):
        expected = oracle.chosen(OF_ALL_KINDS, values.tolist(), words.tolist()) & set(choices)
        assert {name for name in choices if columns[name][row] == 1} == expected
        assert all(columns[name][row] in (0, 1) for name in choices)
    assert np.isfinite(encoded).all(), "a network has no word for what is not finite"


def test_numbers_are_scaled_by_what_is_known_of_training_and_nothing_else() -> None:
    features = FeatureSet((AGE,))
    encoder = fit_encoder(features, "one_hot", numbers([10], [20], [30], [math.nan], [-1], [1e9]))
    assert encoder.scales["age"].mean == 20
    assert encoder.scales["age"].scale == pytest.approx(1 / math.sqrt(200 / 3), rel=1e-5)
    assert by_name(encoder, numbers([20], [math.nan], [131])) == {"age": [0, 0, 0], "age missing": [0, 1, 1]}


def test_a_number_that_training_never_lacked_has_no_indicator() -> None:
    encoder = fit_encoder(FeatureSet((AGE,)), "one_hot", numbers([10], [30]))
    assert by_name(encoder, numbers([30], [math.nan])) == {"age": [1, 0]}


def test_a_code_and_a_word_that_training_never_had_count_as_unknown() -> None:
    features = FeatureSet((AGE, SEX, Text("origin", "", ("JFK", "EWR"))))
    inputs = numbers([10, 1], [30, 1]) | {TEXTS: np.array([["EWR"], ["EWR"]], dtype=object)}
    encoder = fit_encoder(features, "one_hot", inputs)
    assert encoder.names == ("age", "sex=1", "origin=EWR")
    other = numbers([10, 2]) | {TEXTS: np.array([["JFK"]], dtype=object)}
    assert encoder.encode(other).tolist() == [[-1, 0, 0]]


@pytest.mark.parametrize(
    "training", [[[50.0]] * 3, [[math.nan]] * 3], ids=["the same everywhere", "missing everywhere"]
)
def test_a_number_without_spread_stays_small_whatever_is_sent(training: list[list[float]]) -> None:
    encoder = fit_encoder(FeatureSet((AGE,)), "one_hot", numbers(*training))
    values = by_name(encoder, numbers([0], [130], [50]))["age"]
    assert max(map(abs, values)) <= 2
    assert values[0] < values[2] < values[1]


def test_midnight_is_beside_the_minute_before_it() -> None:
    encoder = fit_encoder(FeatureSet((Cycle("hour", "", 24),)), "one_hot", numbers([0]))
    assert encoder.names == ("hour sine", "hour cosine")
    midnight, minute_before, six, noon, missing, over = encoder.encode(
        numbers([0], [24 - 1 / 60], [6], [12], [math.nan], [24])
    ).tolist()
    assert (midnight, six, noon) == ([0, 1], [1, 0], [0, -1])
    assert math.dist(midnight, minute_before) < 0.01
    assert missing == over == [0, 0]


@given(st.floats(0, 24, width=32, exclude_max=True))
@settings(max_examples=200, deadline=None)
def test_a_cycle_is_on_the_circle_at_its_angle(hour: float) -> None:
    encoder = fit_encoder(FeatureSet((Cycle("hour", "", 24),)), "one_hot", numbers([0]))
    [[sine, cosine]] = encoder.encode(numbers([hour])).tolist()
    angle = 2 * math.pi * hour / 24
    # Half a step away at most.
    assert math.dist((sine, cosine), (math.sin(angle), math.cos(angle))) <= 1.01 * math.pi / CYCLE_STEPS


def test_the_circle_closes() -> None:
    table = cycle_table()
    assert table[0].tolist() == [0, 0]
    assert np.array_equal(bits(table[1]), bits(table[-1]))
    assert np.allclose(np.hypot(*table[1:].T), 1, atol=1e-6)


def test_codes_are_known_in_whatever_order_they_were_declared() -> None:
    features = FeatureSet((Code("c", "", {7: "g", -2: "a", 0: "b"}),))
    encoder = fit_encoder(features, "one_hot", numbers([0], [7], [-2]))
    assert encoder.names == ("c=-2", "c=0", "c=7")
    assert encoder.encode(numbers([7], [-0.0], [1], [6.5])).tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_owners_name_the_feature_that_a_column_tells_of() -> None:
    inputs = numbers([math.nan, 1, 3, 0, 5, 10], [3, 2, 3, 1, 6, 20])
    inputs |= {TEXTS: np.array([["JFK", "BOS"], ["EWR", "BOS"]], dtype=object)}
    encoder = fit_encoder(OF_ALL_KINDS, "one_hot", inputs)
    for name, owner in zip(encoder.names, encoder.owners, strict=True):
        assert name.replace("=", " ").split(" ")[0] == OF_ALL_KINDS.names[owner]
    assert {OF_ALL_KINDS.names[owner] for owner in encoder.owners} == set(OF_ALL_KINDS.names)
    assert fit_encoder(OF_ALL_KINDS, "ordinal", inputs).owners.tolist() == list(range(8))


def test_the_order_of_rows_does_not_change_what_is_learnt() -> None:
    random = np.random.default_rng(7)
    values = random.lognormal(2, 2, size=(5000, 1)).astype(np.float32)
    features = FeatureSet((Number("x", "", 0, 1e6),))
    encoder = fit_encoder(features, "one_hot", {NUMBERS: values})
    assert fit_encoder(features, "one_hot", {NUMBERS: random.permutation(values)}) == encoder


@pytest.mark.parametrize("kind", ["ordinal", "one_hot"])
@given(inputs=hostile_inputs(OF_ALL_KINDS))
@settings(max_examples=30, deadline=None)
def test_an_encoder_that_was_written_encodes_as_before(kind: str, inputs: dict[str, np.ndarray]) -> None:
    encoder = fit_encoder(OF_ALL_KINDS, kind, inputs)  # type: ignore[arg-type]
    again = Encoder.from_json(OF_ALL_KINDS, json.loads(json.dumps(encoder.as_json())))
    assert again == encoder
    assert np.array_equal(bits(again.encode(inputs)), bits(encoder.encode(inputs)))


def test_an_encoder_of_other_features_is_refused() -> None:
    document = fit_encoder(FeatureSet((AGE, SEX)), "one_hot", numbers([10, 1], [30, 2])).as_json()
    for other in (FeatureSet((AGE,)), FeatureSet((AGE, SEX, Cycle("hour", "", 24))), OF_ALL_KINDS):
        with pytest.raises(Refusal, match=r"encoder\.json: expected an encoder of these features"):
            Encoder.from_json(other, document)


@pytest.mark.parametrize(
    "change", [{"kind": "binary"}, {"names": None}, {"scales": [1]}, {"scales": {"age": {"mean": "x"}}}, {"seen": None}]
)
def test_a_damaged_encoder_is_refused(change: dict[str, object]) -> None:
    document = fit_encoder(FeatureSet((AGE, SEX)), "one_hot", numbers([10, 1], [30, 2])).as_json()
    with pytest.raises(Refusal, match="Run the train stage again"):
        Encoder.from_json(FeatureSet((AGE, SEX)), document | change)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({NUMBERS: None}, r"inputs\[features\]: expected float32\[rows, 6\], got none"),
        ({NUMBERS: np.zeros((2, 6))}, r"got float64\[2, 6\]"),
        ({NUMBERS: np.zeros((2, 5), np.float32)}, r"got float32\[2, 5\]"),
        ({NUMBERS: np.zeros(6, np.float32)}, r"got float32\[6\]"),
        ({TEXTS: None}, r"inputs\[texts\]: expected texts\[rows, 2\], got none"),
        ({TEXTS: np.full((2, 1), "", object)}, r"got object\[2, 1\]"),
        ({TEXTS: np.full((3, 2), "", object)}, r"inputs\[texts\]: expected 2 rows, as features has, got 3"),
    ],
)
def test_inputs_of_another_form_are_refused_by_name(change: dict[str, np.ndarray | None], named: str) -> None:
    right = {NUMBERS: np.zeros((2, 6), np.float32), TEXTS: np.full((2, 2), "", object)}
    inputs = {name: value for name, value in (right | change).items() if value is not None}
    with pytest.raises(Refusal, match=named):
        fit_encoder(OF_ALL_KINDS, "one_hot", inputs)
    with pytest.raises(Refusal, match=named):
        fit_encoder(OF_ALL_KINDS, "ordinal", right).encode(inputs)


def test_texts_that_no_feature_declares_are_refused() -> None:
    with pytest.raises(Refusal, match=r"inputs\[texts\]: expected texts\[rows, 0\]"):
        fit_encoder(FeatureSet((AGE,)), "ordinal", numbers([1]) | {TEXTS: np.array([["JFK"]], dtype=object)})


def test_nothing_is_learnt_from_no_rows() -> None:
    with pytest.raises(Refusal, match="expected rows to learn from, got none"):
        fit_encoder(FeatureSet((AGE,)), "one_hot", {NUMBERS: np.empty((0, 1), np.float32)})


def test_a_word_is_the_same_word_as_bytes() -> None:
    words = np.array([["JFK", "São Paulo"], ["EWR", "?"]], dtype=object)
    inputs = {NUMBERS: np.zeros((2, 6), np.float32), TEXTS: words}
    as_bytes = inputs | {TEXTS: np.array([[word.encode() for word in row] for row in words], dtype=object)}
    encoder = fit_encoder(OF_ALL_KINDS, "ordinal", inputs)
    assert np.array_equal(bits(encoder.encode(inputs)), bits(encoder.encode(as_bytes)))


def test_many_rows_are_encoded_as_few_are() -> None:
    random = np.random.default_rng(3)
    values = random.uniform(-5, 140, size=(40_000, 1)).astype(np.float32)
    encoder = fit_encoder(FeatureSet((AGE,)), "one_hot", {NUMBERS: values})
    whole = encoder.encode({NUMBERS: values})
    assert np.array_equal(whole[16_380:16_390], encoder.encode({NUMBERS: values[16_380:16_390]}))
    assert np.array_equal(whole[-1:], encoder.encode({NUMBERS: values[-1:]}))
