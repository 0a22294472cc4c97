"""Building a baseline: which bins a column gets, what is refused, and what is kept when there are too many values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from registry_client.baseline import builder as building
from registry_client.baseline.bins import bins_of
from registry_client.baseline.builder import NO_HOUR, BaselineBuilder, Choices
from registry_client.baseline.columns import PREDICTIONS_MAX, Column, input_columns, prediction_columns
from registry_client.baseline.document import ARGMAX, POINTS_MAX, Baseline, Feature, Kind, bin_count, read_baseline
from registry_client.baseline.points import calm_edges, choose_points, even_edges
from registry_client.baseline.reference import Batch, Naming, build_baseline
from registry_client.baseline.sketches import Sketch
from registry_client.errors import BadDocument
from registry_client.tensors import Datatype, Signature, TensorSpec

ROWS = 20_000


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


def built(values: np.ndarray, choices: Choices | None = None, **columns: object) -> Feature:
    return whole(values, choices).inputs[0]


def whole(values: np.ndarray, choices: Choices | None = None) -> Baseline:
    made = BaselineBuilder([Column("f", "x", 0)], choices=choices)
    made.add({"x": (Datatype.FP64, values.astype(np.float64))})
    return made.baseline()


def test_a_number_gets_bins_of_equal_shares_between_its_least_and_its_greatest(random):
    values = random.standard_normal(ROWS)
    feature = built(values)
    assert (feature.kind, len(feature.points)) == (Kind.NUMBER, 11)
    assert (feature.points[0], feature.points[-1]) == (values.min(), values.max())
    assert set(feature.counts[1:11]) == {ROWS // 10}
    assert feature.counts[0] == sum(feature.counts[11:]) == 0


def test_a_value_that_most_rows_have_takes_a_bin_of_its_own_and_leaves_bins_for_the_others(random):
    for sign in (1, -1):
        values = np.where(random.random(ROWS) < 0.9, 0.0, sign * random.exponential(100, ROWS))
        feature = built(values)
        counts = np.array(feature.counts[1 : len(feature.points)])
        assert (values == 0).sum() in counts
        assert (counts > 0).sum() >= 4
        # Dust would only add noise.
        assert counts.min() >= 0.8 * ROWS / 40


@pytest.mark.parametrize(("distinct", "kind"), [(1, Kind.CATEGORY), (20, Kind.CATEGORY), (21, Kind.NUMBER)])
def test_a_number_of_at_most_twice_as_many_values_as_bins_is_a_category(distinct, kind):
    feature = built(np.arange(ROWS) % distinct)
    assert feature.kind is kind
    if kind is Kind.CATEGORY:
        assert feature.points == tuple(range(distinct))


def test_levels_of_fewer_than_five_rows_are_other():
    values = np.concatenate([np.full(2000, 1.0), np.full(5, 2.0), np.full(4, 3.0), np.full(3, 4.0)])
    feature = built(values)
    assert feature.points == (1.0, 2.0)
    assert feature.counts == (2000, 5, 7, 0, 0)


def test_of_more_levels_than_there_is_room_for_the_rarest_are_other():
    values = np.repeat(np.arange(70), np.arange(70) + 200)
    feature = built(values, Choices(categories=frozenset({"f"})))
    assert feature.points == tuple(range(10, 70))
    assert feature.counts[POINTS_MAX] == sum(range(200, 210))


def test_a_named_category_is_one_whatever_its_values(random):
    values = random.integers(0, 40, ROWS)
    assert built(values).kind is Kind.NUMBER
    assert built(values, Choices(categories=frozenset({"f"}))).kind is Kind.CATEGORY


def test_missing_and_infinite_values_are_counted_apart(random):
    values = random.standard_normal(ROWS)
    values[:50], values[50:80] = np.nan, np.inf
    assert built(values).counts[-2:] == (50, 30)


@pytest.mark.parametrize(
    ("values", "got"), [([np.nan], "missing values only"), ([np.nan, np.inf], "missing and infinite values only")]
)
def test_a_column_without_a_number_is_refused_by_name(values, got):
    with pytest.raises(BadDocument, match=f"feature 'f': expected numbers, got {got}"):
        built(np.resize(values, ROWS))


def test_a_reference_too_small_for_tau_is_refused_with_the_rows_that_it_needs(random):
    values = random.standard_normal(1300)
    message = r"reference: expected at least 1300 rows for tau 0\.1 and the 14 bins of 'f', got 1299\."
    with pytest.raises(BadDocument, match=message):
        built(values[:1299])
    assert built(values).rows == 1300
    with pytest.raises(BadDocument, match=r"at least 2600 rows for tau 0\.05"):
        built(values, Choices(tau=0.05))
    assert built(values[:650], Choices(tau=0.2)).rows == 650


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (Choices(bins=1), "--bins: expected 2 to 59, got 1"),
        (Choices(bins=60), "--bins: expected 2 to 59, got 60"),
        (Choices(tau=0.0), "--tau: expected a number above 0"),
        (Choices(tau=float("nan")), "--tau: expected a number above 0"),
        (Choices(importances={"f": -1.0}), "importance of 'f': expected at least 0, got -1.0"),
        (Choices(importances={"g": 1.0}), "--importances: expected names of features: f, got 'g'"),
        (Choices(categories=frozenset({"g"})), "--categories: expected names of features: f, got 'g'"),
    ],
)
def test_a_choice_that_can_not_be_followed_is_refused_by_its_option(choices, message):
    with pytest.raises(BadDocument) as refusal:
        BaselineBuilder([Column("f", "x", 0)], choices=choices)
    assert message in str(refusal.value)


def test_most_points_that_a_feature_may_have_are_not_exceeded(random):
    feature = built(random.standard_normal(ROWS), Choices(bins=59))
    assert len(feature.points) == POINTS_MAX


def test_no_rows_are_refused():
    with pytest.raises(BadDocument, match="reference: expected rows, got none"):
        built(np.empty(0))


def test_beyond_the_values_that_are_counted_one_by_one_counts_are_off_by_at_most_the_error_that_is_told(
    monkeypatch, random
):
    monkeypatch.setattr(building, "DISTINCT_MAX", 4096)
    values = np.where(random.random(200_000) < 0.3, 5.0, random.standard_normal(200_000))
    one_pass = whole(values)
    first, second = (BaselineBuilder([Column("f", "x", 0)]) for _ in range(2))
    # One half is still exact when they meet.
    first.add({"x": (Datatype.FP64, values[:3000])})
    second.add({"x": (Datatype.FP64, values[3000:])})
    first.merge(second)
    for baseline in (one_pass, first.baseline()):
        feature = baseline.inputs[0]
        assert 0 < baseline.rank_error < 0.001
        assert sum(feature.counts) == baseline.rows == values.size
        assert (feature.points[0], feature.points[-1]) == (values.min(), values.max())
        exact = np.histogram(values, np.nextafter(feature.points, np.inf))[0]
        exact[0] += 1  # the least, on the closed side
        counted = np.array(feature.counts[1 : len(feature.points)])
        # Told for 99 of 100 sketches; twice that for the rest.
        assert np.abs(counted - exact).max() <= 2 * baseline.rank_error * values.size
        assert read_baseline(baseline.to_bytes()) == baseline


def test_a_sketch_takes_a_level_as_often_as_it_came():
    counts = np.array([1, 1000, 12_345_678])
    sketch = Sketch(64)
    sketch.add_levels(np.array([1.0, 2.0, 3.0]), counts)
    values, weights = sketch.levels()
    assert weights.sum() == counts.sum()
    assert weights[values == 3.0].sum() == pytest.approx(counts[2], rel=0.1)


def test_two_sketches_merged_stand_for_all_numbers():
    # Of so many sizes many leave the merged sketch without numbers in its first level.
    for rows in range(50, 250):
        small, large = Sketch(8), Sketch(8)
        small.add(np.arange(10.0))
        large.add(np.arange(float(rows)))
        small.merge(large)
        values, weights = small.levels()
        assert weights.sum() == 10 + rows
        assert weights.min() >= 0
        assert (values[0], values[-1]) == (0, rows - 1)


def test_a_category_of_too_many_codes_is_refused(monkeypatch, random):
    monkeypatch.setattr(building, "DISTINCT_MAX", 4096)
    with pytest.raises(BadDocument, match="category 'f': expected codes that can be counted one by one"):
        built(random.standard_normal(ROWS), Choices(categories=frozenset({"f"})))


def test_rows_are_counted_by_the_hour_of_the_week_that_they_are_of(random):
    values, hours = random.integers(0, 3, ROWS).astype(np.float64), random.integers(0, 168, ROWS)
    hours[:100] = NO_HOUR
    halves = [BaselineBuilder([Column("f", "x", 0)], hourly=True) for _ in range(2)]
    for made, part in zip(halves, (slice(0, 7000), slice(7000, None)), strict=True):
        made.add({"x": (Datatype.FP64, values[part])}, hours=hours[part])
    halves[0].merge(halves[1])
    by_hour = halves[0].baseline().inputs[0].by_hour
    assert len(by_hour) == 168
    for hour in range(168):
        here = values[hours == hour]
        assert by_hour[hour] == (*(int((here == code).sum()) for code in range(3)), 0, 0, 0)


def test_times_that_are_all_missing_are_refused():
    made = BaselineBuilder([Column("f", "x", 0)], hourly=True)
    made.add({"x": (Datatype.FP64, np.arange(ROWS) % 3)}, hours=np.full(ROWS, NO_HOUR))
    with pytest.raises(BadDocument, match="times: expected a time in some row, got none"):
        made.baseline()


# From a model's signature to features.

SIGNATURE = Signature(
    inputs=(
        TensorSpec("x", Datatype.FP32, (-1, 2)), TensorSpec("words", Datatype.BYTES, (-1, 1)),
        TensorSpec("tokens", Datatype.INT64, (-1, -1)), TensorSpec("n", Datatype.INT32, (-1,)),
    ),
    outputs=(
        TensorSpec("label", Datatype.INT64, (-1,)), TensorSpec("scores", Datatype.FP32, (-1, 3)),
        TensorSpec("text", Datatype.BYTES, (-1,)),
    ),
)  # fmt: skip


def test_each_column_of_numbers_is_a_feature_and_what_is_left_out_is_told():
    columns, notes = input_columns(SIGNATURE, {"x": ("height", "weight")})
    assert [(one.name, one.tensor, one.column) for one in columns] == [
        ("height", "x", 0), ("weight", "x", 1), ("n", "n", 0),
    ]  # fmt: skip
    assert notes == (
        "input 'words' is not in the baseline: it is text",
        "input 'tokens' is not in the baseline: it has shape [-1, -1], no rows of a fixed size",
    )


def test_predictions_are_scores_by_column_the_largest_s_place_and_integers_as_categories():
    columns, notes = prediction_columns(SIGNATURE, ("a", "b", "c"))
    assert [(one.name, one.column, one.kind) for one in columns] == [
        ("label", 0, Kind.CATEGORY), ("scores[a]", 0, None), ("scores[b]", 1, None), ("scores[c]", 2, None),
        ("scores[argmax]", ARGMAX, Kind.CATEGORY),
    ]  # fmt: skip
    assert notes == ("output 'text' is not in the baseline: it is text",)


def test_of_many_outputs_each_keeps_its_largest_s_place_and_first_columns_and_the_cut_is_told():
    wide = Signature((), tuple(TensorSpec(name, Datatype.FP32, (-1, 100)) for name in "ab"))
    columns, notes = prediction_columns(wide, None)
    assert len(columns) == PREDICTIONS_MAX
    assert [(one.tensor, one.column) for one in columns] == [
        (tensor, column) for tensor in "ab" for column in (*range(31), ARGMAX)
    ]
    assert notes == (f"the baseline has {PREDICTIONS_MAX} of the outputs' 202 columns, the first of each",)


def test_a_model_without_columns_of_numbers_is_refused():
    with pytest.raises(BadDocument, match=r"inputs: expected 1 to 4096 columns of numbers.*got 0"):
        input_columns(Signature((TensorSpec("words", Datatype.BYTES, (-1, 1)),), ()), {})


def test_an_output_of_more_integers_than_a_category_has_room_for_is_a_number():
    made = BaselineBuilder(
        [Column("f", "x", 0)], [Column("few", "few", 0, Kind.CATEGORY), Column("many", "many", 0, Kind.CATEGORY)]
    )
    counting = np.arange(ROWS)
    made.add(
        {"x": (Datatype.FP64, counting % 7)},
        {"few": (Datatype.INT64, counting % 60), "many": (Datatype.INT64, counting % 61)},
    )
    assert [one.kind for one in made.baseline().predictions] == [Kind.CATEGORY, Kind.NUMBER]


def test_the_model_is_run_once_over_every_row_in_pieces_of_bounded_size(random):
    signature = Signature((TensorSpec("x", Datatype.FP32, (-1, 3)),), (TensorSpec("y", Datatype.FP32, (-1, 3)),))
    rows = random.standard_normal((50_000, 3)).astype(np.float32)
    seen = []

    def run(inputs):
        seen.append(inputs["x"])
        return {"y": inputs["x"] * 2}

    def batches() -> Iterator[Batch]:
        yield Batch({"x": rows[:40_000]}, labels=np.arange(40_000.0) % 2)
        yield Batch({"x": rows[40_000:]}, labels=np.arange(10_000.0) % 2)

    baseline = build_baseline(
        signature, batches(), run=run, naming=Naming(label="truth"), choices=Choices(importances={"x[1]": 0.5})
    ).baseline
    np.testing.assert_array_equal(np.concatenate(seen), rows)
    assert max(len(piece) for piece in seen) <= 16_384
    assert [one.name for one in baseline.inputs] == ["x[0]", "x[1]", "x[2]"]
    assert [one.importance for one in baseline.inputs] == [None, 0.5, None]
    assert [one.name for one in baseline.predictions] == ["y[0]", "y[1]", "y[2]", "y[argmax]"]
    # The inputs' edges, but for the slack that keeps an answer's away from crowds.
    slack = 0.0101 * np.subtract(*np.quantile(rows[:, 1] * 2, [0.95, 0.05]))
    np.testing.assert_allclose(
        baseline.predictions[1].points, np.array(baseline.inputs[1].points) * 2, rtol=0, atol=slack
    )
    places = np.bincount(rows.argmax(axis=1), minlength=3)
    assert baseline.predictions[3].counts == (*places.tolist(), 0, 0, 0)
    assert (baseline.labels[0].name, baseline.labels[0].counts) == ("truth", (25_000, 25_000, 0, 0, 0))


def test_an_output_whose_first_dimension_is_no_row_is_refused():
    signature = Signature((TensorSpec("x", Datatype.FP32, (-1, 1)),), (TensorSpec("y", Datatype.FP32, (-1,)),))
    with pytest.raises(BadDocument, match="output 'y': expected 4 rows for 4 of the reference, got 1"):
        build_baseline(
            signature, [Batch({"x": np.zeros((4, 1), np.float32)})], run=lambda inputs: {"y": np.zeros(1, np.float32)}
        )


@pytest.mark.parametrize(("here", "there"), [(0.002, 0.0001), (0.5, 0.503), (0.503, 0.5), (0.98, 0.984)])
def test_a_crowd_of_answers_that_moves_a_little_stays_in_its_bin(here, there, random):
    """As probabilities do that a model is sure of: the next training moves all of them together."""
    others = random.uniform(0.01, 0.97, 40_000)
    reference, later = (np.concatenate([others, np.full(9_000, crowd)]) for crowd in (here, there))
    values, counts = np.unique(reference, return_counts=True)
    shares = []
    for is_answer in (False, True):
        kind, points = choose_points(values, counts, 10, None, is_answer=is_answer)
        feature = Feature("p", "p", 0, kind, points, (0,) * bin_count(kind, len(points)))
        moved = [np.bincount(bins_of(feature, rows), minlength=len(feature.counts)) for rows in (reference, later)]
        shares.append(np.abs(moved[0] - moved[1]).sum() / 2 / len(reference))
    assert shares[1] < 0.01, "moved, by a prediction's bins"
    assert shares[0] > 0.15, "moved, by an input's: else this test would hold without calm edges"


@pytest.mark.parametrize(
    "values", [[0.0, 1e308], [-1e308, 1e308, 1.7e308], [1e16, 1e16 + 2, 1e16 + 4], [0.0, 5e-324, 1e-323]]
)
def test_edges_of_answers_rise_however_near_or_far_values_are(values):
    counts = np.full(len(values), 50)
    edges = calm_edges(even_edges(np.array(values), counts, 10), np.array(values), counts)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) > 0).all()
    assert edges[0] <= values[0]
    assert edges[-1] >= values[-1]
