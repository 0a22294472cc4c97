"""Attribution: a row's base and values lead to what the served graph answers, whatever has learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from math import factorial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.artifact.attribution import (
    ADDITIVITY_BOUND,
    Explained,
    Swaps,
    answers_of,
    explain_graph,
    explain_trees,
    permuted_values,
    spread_rows,
    typical_rows,
)
from pipelines.definition import Classification
from pipelines.employment.drill import spoilt
from pipelines.features.matrix import fit_encoder
from pipelines.parameters import Train
from pipelines.refusal import Refusal
from pipelines.stages.train import fit
from pipelines.training.conversion import to_onnx
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun
from tests.pipelines.artifact.learnt_models import Model

Floats = npt.NDArray[np.float64]


def shapley(outputs_of: Callable[[Floats], Floats], row: Floats, background: Floats) -> Floats:
    """By the definition: over all subsets of the other features, weighed by how many orders begin with one."""
    features = len(row)

    def worth(taken: tuple[int, ...]) -> float:
        mixed = background.copy()
        mixed[:, list(taken)] = row[list(taken)]
        return float(outputs_of(mixed).mean())

    values = np.zeros(features)
    for feature in range(features):
        others = [other for other in range(features) if other != feature]
        for size in range(features):
            weight = factorial(size) * factorial(features - size - 1) / factorial(features)
            for taken in combinations(others, size):
                values[feature] += weight * (worth((*taken, feature)) - worth(taken))
    return values


def crooked(coefficients: Floats) -> Callable[[Floats], Floats]:
    """Sums, products and steps of the columns, so that features are not merely added."""

    def outputs_of(matrix: Floats) -> Floats:
        products = matrix[:, 0] * matrix[:, 1] + np.where(matrix[:, 2] > 0, matrix[:, 3], -1)
        return np.asarray(matrix @ coefficients + products)

    return outputs_of


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_over_every_order_values_are_shapley_s(seed: int) -> None:
    random = np.random.default_rng(seed)
    outputs_of, row, background = crooked(random.normal(size=4)), random.normal(size=4), random.normal(size=(6, 4))
    every = [np.array(order) for order in permutations(range(4))]
    np.testing.assert_allclose(
        permuted_values(outputs_of, row, background, every), shapley(outputs_of, row, background), atol=1e-12
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_over_any_orders_values_add_up_and_an_idle_feature_has_none(seed: int, orders: int) -> None:
    random = np.random.default_rng(seed)
    outputs_of, row, background = crooked(np.append(random.normal(size=4), 0)), random.normal(size=5), random.normal(
        size=(6, 5)
    )  # fmt: skip
    values = permuted_values(outputs_of, row, background, [random.permutation(5) for _ in range(orders)])
    leads = float(outputs_of(row[None])[0] - outputs_of(background).mean())
    assert values.sum() == pytest.approx(leads, abs=1e-12)
    assert values[4] == 0


@pytest.mark.slow
def test_values_are_those_of_the_library_shap_which_compiles_for_long() -> None:
    import shap

    random = np.random.default_rng(3)
    outputs_of, row, background = crooked(random.normal(size=4)), random.normal(size=4), random.normal(size=(20, 4))
    every = [np.array(order) for order in permutations(range(4))]
    theirs = shap.ExactExplainer(outputs_of, shap.maskers.Independent(background))(row[None]).values[0]
    np.testing.assert_allclose(permuted_values(outputs_of, row, background, every), theirs, atol=1e-9)


def test_base_and_values_add_up_to_the_graph_s_answer_on_every_row(model: Model) -> None:
    explained = model.explained()
    sums = explained.base + explained.values.sum(axis=1)
    np.testing.assert_allclose(sums, explained.outputs, atol=1e-9)
    if isinstance(model.work.definition.task, Classification):
        sums = 1 / (1 + np.exp(-sums))
    np.testing.assert_allclose(sums, explained.answers, rtol=ADDITIVITY_BOUND, atol=ADDITIVITY_BOUND)
    assert explained.shares.sum() == pytest.approx(1)


def test_the_same_again_is_the_same_to_the_bit_and_numpy_s_own_randomness_is_left_alone(model: Model) -> None:
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()
    first, second = model.explained(), model.explained()
    assert first.values.tobytes() == second.values.tobytes()
    assert np.random.get_state()[1].tolist() == before


def test_trees_lean_on_what_the_rows_were_made_of_and_not_on_noise(trees: Model) -> None:
    explained = trees.explained()
    strongest = trees.work.definition.features.names[int(explained.shares.argmax())]
    assert strongest == "AGEP"
    assert explained.shares[3] < 0.1


def test_a_network_leans_on_the_delay_at_departure_and_sees_its_texts(network: Model) -> None:
    shares = dict(zip(network.work.definition.features.names, network.explained().shares, strict=True))
    assert max(shares, key=shares.__getitem__) == "dep_delay"
    assert shares["carrier"] > 0


def test_encoded_columns_are_summed_to_the_features_that_they_come_from(trees: Model) -> None:
    of, chosen = trees.work.definition, trees.work.parameters.train
    encoder = fit_encoder(of.features, "one_hot", trees.split.training.inputs())
    learner = fit(trees.split.training, encoder, of.task, chosen, lambda words: None)
    model = read_onnx(to_onnx(learner, encoder))
    run = ReferenceRun(model.model_bytes, model.signature)
    explained = explain_trees(of, learner.source().decode(), encoder, run, trees.split.evaluation, 40)
    assert encoder.width > len(of.features.names) == explained.values.shape[1]


def three_classes(trees: Model, positive: int) -> Explained:
    """Young, grown and old, told by trees; the answers of one of them explained."""
    task = Classification(("young", "grown", "old"), positive)
    of = replace(trees.work.definition, task=task)
    ages = np.digitize(trees.split.training.numbers[:, 0], (30, 60)).astype(np.float64)
    training = replace(trees.split.training, labels=ages)
    encoder = fit_encoder(of.features, "ordinal", training.inputs())
    parameters = Train.model_validate({"trees": {"count": 5, "leaves": 4}})
    learner = fit(training, encoder, task, parameters, lambda words: None)
    model = read_onnx(to_onnx(learner, encoder))
    run = ReferenceRun(model.model_bytes, model.signature)
    return explain_trees(of, learner.source().decode(), encoder, run, trees.split.evaluation, 40)


def test_of_more_than_two_classes_the_positive_one_is_explained(trees: Model) -> None:
    young, old = three_classes(trees, 0), three_classes(trees, 2)
    ages = trees.split.evaluation.numbers[young.rows, 0]
    assert (young.values[ages < 30, 0] > 0).all()
    assert (old.values[ages < 30, 0] < 0).all()


def test_where_the_first_class_is_the_positive_one_values_lead_the_other_way(trees: Model) -> None:
    second = trees.explained()
    of = replace(trees.work.definition, task=Classification(("not at work", "employed, at work"), positive=0))
    first = explain_trees(of, trees.source, trees.encoder, trees.run, trees.split.evaluation, len(second.rows))
    np.testing.assert_array_equal(first.values, -second.values)
    np.testing.assert_allclose(first.answers, 1 - second.answers, atol=1e-6)
    assert first.unit == "log-odds of not at work"


def test_trees_that_the_graph_was_not_made_from_are_refused(trees: Model) -> None:
    of, chosen = trees.work.definition, trees.work.parameters.train
    fewer = chosen.model_copy(update={"trees": chosen.trees.model_copy(update={"count": 3})})
    other = fit(trees.split.training, trees.encoder, of.task, fewer, lambda words: None)
    with pytest.raises(Refusal, match="explanations: expected base and values to add up to the graph's answer"):
        explain_trees(of, other.source().decode(), trees.encoder, trees.run, trees.split.evaluation, 40)


def test_an_answer_that_is_no_number_is_refused(trees: Model) -> None:
    graph = read_onnx(spoilt(trees.model_bytes))
    run = ReferenceRun(graph.model_bytes, graph.signature)
    with pytest.raises(Refusal, match="add up to the graph's answer, nan"):
        explain_trees(trees.work.definition, trees.source, trees.encoder, run, trees.split.evaluation, 40)
    with pytest.raises(Refusal, match="add up to the graph's answer, nan"):
        explain_graph(trees.work.definition, run, trees.split, 40, 1)


def test_rows_as_one_matrix_come_back_as_the_inputs_they_were_but_unknown_words(network: Model) -> None:
    evaluation = network.split.evaluation
    texts = evaluation.texts.copy()
    texts[0] = ["XX", "JFK"]
    strange = replace(evaluation, texts=texts, numbers=np.where(evaluation.numbers > 40, np.nan, evaluation.numbers))
    swaps = Swaps(network.work.definition.features)
    inputs = swaps.inputs(swaps.matrix(strange))
    np.testing.assert_array_equal(inputs["features"], strange.numbers)
    assert inputs["texts"][0].tolist() == ["", "JFK"]
    assert inputs["texts"][1:].tolist() == texts[1:].tolist()
    answered = network.run(inputs)["prediction"].astype(np.float64)
    np.testing.assert_array_equal(answered, answers_of(network.work.definition, network.run, strange))


def test_progress_is_told(network: Model) -> None:
    told: list[str] = []
    explain_graph(network.work.definition, network.run, network.split, 60, 1, told.append)
    assert told == ["explaining answers: 0 of 60 rows", "explaining answers: 50 of 60 rows"]


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_rows_are_spread_from_the_first_to_the_last_each_once(rows: int, wanted: int) -> None:
    spread = spread_rows(rows, wanted)
    assert len(spread) == min(rows, wanted)
    assert spread[0] == 0
    assert wanted == 1 or spread[-1] == rows - 1
    assert (np.diff(spread) > 0).all()


@given(st.integers(1, 2000), st.integers(1, 300), st.integers(0, 100))
def test_typical_rows_are_each_in_a_part_of_its_own_by_what_is_answered(rows: int, wanted: int, seed: int) -> None:
    answers = np.random.default_rng(seed).permutation(rows).astype(np.float64)
    places = typical_rows(answers, wanted)
    parts = min(rows, wanted)
    assert len(set(places.tolist())) == len(places) == parts
    middles = (np.arange(parts) + 0.5) * rows / parts
    assert (np.abs(answers[places] - middles) <= 1).all()


def test_contributions_lead_from_about_the_mean_answer_to_training(network: Model) -> None:
    answered = answers_of(network.work.definition, network.run, network.split.training)
    assert abs(network.explained().base - answered.mean()) < 0.1 * answered.std()
