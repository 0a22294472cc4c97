"""A policy that could not keep its promise is refused, naming the field, and the settings' section makes one."""

from __future__ import annotations

import math

import pytest

from server.judgement.policy import Policy
from server.settings import JudgementSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("beta", 0.0),
        ("beta", math.nan),
        ("margin_worse", 0.9),
        ("margin_worse", 50.0),
        ("margin_worse", math.inf),
        ("margin_not_worse", 1.0),
        ("margin_not_worse", math.nan),
        ("cap", 0.0),
        ("cap", -0.1),
        ("canary_requests_min", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: expected .*got {value}"):
        Policy(**{field: value})


def test_shares_of_the_bet_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match=r"expected a sum of 1, got 1\.1"):
        Policy(error_weight=0.6)


@pytest.mark.parametrize("weight", [0.0, -0.25, 1.0, math.nan])
def test_a_signal_without_a_share_of_the_bet_is_refused(weight):
    with pytest.raises(ValueError, match="weight of non_finite: expected a share above 0 and below 1"):
        Policy(error_weight=0.5, non_finite_weight=weight, timeout_weight=0.5)


def test_thresholds_are_the_inverse_of_the_error_rates():
    assert Policy(alpha=0.01).worse_at == pytest.approx(100.0)
    assert Policy(beta=0.05).not_worse_at == pytest.approx(20.0)


def test_the_settings_defaults_are_the_policy_s():
    settings, policy = JudgementSettings(), Policy()
    for name in ("alpha", "beta", "margin_worse", "margin_not_worse", "cap"):
        assert getattr(settings, name) == getattr(policy, name)
