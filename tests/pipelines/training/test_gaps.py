"""Gaps: whole rows stay whole, the others lose what chance says, and a network that saw them bears what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipelines.definition import Classification, Regression
from pipelines.examples import Examples
from pipelines.features.declaration import FeatureSet
from pipelines.features.matrix import fit_encoder
from pipelines.parameters import Network, Parameters, Train, read_parameters
from pipelines.refusal import Refusal
from pipelines.stages.train import encoder_for, fit
from pipelines.training.gaps import REPEATED_SHARE, with_gaps

Make = Callable[..., Examples]


def test_the_rows_come_whole_first_and_half_of_them_once_more_with_gaps(examples_of: Make) -> None:
    training = examples_of("minutes", 2001, missing=False)
    shown = with_gaps(training, 0.2, 5)
    assert len(shown) == 2001 + 1000
    whole, again = shown.take(np.arange(2001)), shown.take(np.arange(2001, 3001))
    assert whole.digest() == training.digest()
    assert len(set(again.keys)) == len(again), "a row is shown again once"
    theirs = training.take(np.searchsorted(np.arange(2001), [int(key.rpartition("-")[2]) for key in again.keys]))
    assert (again.labels == theirs.labels).all()
    for column, values in enumerate(again.numbers.T):
        gone = np.isnan(values)
        assert 0.15 < gone.mean() < 0.25, column
        assert (values[~gone] == theirs.numbers[~gone, column]).all()
    assert again.texts is not None
    assert theirs.texts is not None
    gone = again.texts == ""
    assert 0.15 < gone.mean() < 0.25
    assert (again.texts[~gone] == theirs.texts[~gone]).all()


def test_the_examples_that_were_given_are_left_as_they_are(examples_of: Make) -> None:
    training = examples_of("two", missing=False)
    before = training.digest()
    with_gaps(training, 0.5, 1)
    assert training.digest() == before


def test_gaps_depend_on_the_seed_and_on_nothing_else(examples_of: Make) -> None:
    training = examples_of("two")
    assert with_gaps(training, 0.1, 1).digest() == with_gaps(training, 0.1, 1).digest()
    assert with_gaps(training, 0.1, 2).digest() != with_gaps(training, 0.1, 1).digest()


def test_no_share_is_no_further_row(examples_of: Make) -> None:
    training = examples_of("two")
    assert with_gaps(training, 0, 1) is training


def test_examples_without_texts_have_gaps_too(examples_of: Make) -> None:
    training = replace(examples_of("two", missing=False), texts=None)
    shown = with_gaps(training, 0.2, 1)
    assert shown.texts is None
    assert np.isnan(shown.numbers[len(training) :]).any()
    assert not np.isnan(shown.numbers[: len(training)]).any()


def test_one_row_is_not_shown_again(examples_of: Make) -> None:
    training = examples_of("minutes", 1)
    assert len(with_gaps(training, 0.5, 1)) == 1 + int(REPEATED_SHARE)


def test_scales_are_the_records_own_and_every_number_has_an_indicator(examples_of: Make, features: FeatureSet) -> None:
    training = examples_of("minutes", missing=False)
    plain = fit_encoder(features, "one_hot", training.inputs())
    gapped = encoder_for(features, training, Train(learner="network"))
    assert {name: (one.mean, one.scale) for name, one in gapped.scales.items()} == {
        name: (one.mean, one.scale) for name, one in plain.scales.items()
    }
    assert set(gapped.names) - set(plain.names) == {"age missing", "noise missing"}
    assert gapped.seen == plain.seen


def test_a_column_that_no_row_would_set_has_no_weight(examples_of: Make, features: FeatureSet) -> None:
    training = examples_of("minutes", missing=False)
    chosen = Train(learner="network", network=Network(gap_share=0))
    assert not any(name.endswith("missing") for name in encoder_for(features, training, chosen).names)


@pytest.mark.parametrize("task", ["minutes", "two"])
def test_a_network_that_is_told_nothing_answers_as_if_it_knew_nothing_but_only_if_it_saw_gaps(
    task: str, examples_of: Make, features: FeatureSet, tasks: dict[str, Classification | Regression]
) -> None:
    training, judging = examples_of(task, 1200, missing=False), examples_of(task, 1200, 1, missing=False)
    assert judging.texts is not None
    nothing = replace(judging, numbers=judging.numbers * np.float32(np.nan), texts=np.full_like(judging.texts, ""))

    def errors(gap_share: float) -> tuple[float, float]:
        """Squared errors with everything known and with nothing, as shares of those of always saying the mean."""
        network = Network(hidden=(16,), epochs=40, batch_rows=32, learning_rate=0.01, gap_share=gap_share)
        chosen = Train(learner="network", network=network)
        encoder = encoder_for(features, training, chosen)
        learner = fit(training, encoder, tasks[task], chosen, lambda words: None)
        answers = [learner.predict(encoder.encode(rows.inputs())) for rows in (judging, nothing)]
        told = [answer[:, 1] if answer.ndim == 2 else answer for answer in answers]
        whole, without = (float(((answer - judging.labels) ** 2).mean() / judging.labels.var()) for answer in told)
        return whole, without

    whole, without = errors(0.3)
    assert whole < 0.1
    assert without < 1.08
    assert errors(0)[1] > 1.12


@pytest.mark.parametrize("share", [-0.1, 0.6, "some"])
def test_a_share_out_of_bounds_is_refused_by_name(share: object) -> None:
    with pytest.raises(Refusal, match=r"train\.network\.gap_share: expected"):
        read_parameters("flights", [f"train.network.gap_share={share}"])
    assert Parameters().train.network.gap_share == 0.1
