"""Which alerts ask for a training, over any history of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.retraining.admission import IDS_MAX, Admission, Verdict
from pipelines.retraining.delivery import Alert

QUIET_S = 100.0
MODELS = ("employment", "flights")


def alert(id_: str = "evt_1", *, model: str = "employment", kind: str = "drift", signal: str = "inputs") -> Alert:
    return Alert(id_, kind, model, signal, "", "")


def asked(admission: Admission, one: Alert, now_s: float, *, taken: bool = True) -> Verdict:
    verdict = admission.admit(one, now_s)
    if verdict is Verdict.ASK:
        admission.settle(one, now_s, asked=taken)
    return verdict


@pytest.mark.parametrize(
    "one",
    [alert(kind="rollback"), alert(kind="alert"), alert(signal="canary"), alert(model="churn"), alert(model="")],
    ids=["rollback", "alert", "canary", "another model", "no model"],
)
def test_only_drift_of_a_known_models_traffic_asks_for_a_training(one: Alert) -> None:
    assert Admission(MODELS, QUIET_S).admit(one, 0.0) is Verdict.OTHER


@pytest.mark.parametrize("signal", ["inputs", "predictions", ""])
def test_drift_asks_also_where_the_detail_of_it_was_left_out(signal: str) -> None:
    assert Admission(MODELS, QUIET_S).admit(alert(signal=signal), 0.0) is Verdict.ASK


def test_the_same_event_asks_once_however_late_it_comes_again() -> None:
    admission = Admission(MODELS, QUIET_S)
    assert asked(admission, alert(), 0.0) is Verdict.ASK
    assert asked(admission, alert(), 1000 * QUIET_S) is Verdict.DOUBLE


def test_what_failed_may_be_asked_at_once_again() -> None:
    admission = Admission(MODELS, QUIET_S)
    assert asked(admission, alert(), 0.0, taken=False) is Verdict.ASK
    assert asked(admission, alert(), 0.0) is Verdict.ASK


def test_while_one_is_asked_for_no_other_is_for_that_model() -> None:
    admission = Admission(MODELS, QUIET_S)
    assert admission.admit(alert("evt_1"), 0.0) is Verdict.ASK
    assert admission.admit(alert("evt_2"), 0.0) is Verdict.BUSY
    assert admission.admit(alert("evt_3", model="flights"), 0.0) is Verdict.ASK


def test_ids_that_are_remembered_are_bounded_and_the_oldest_go_first() -> None:
    admission = Admission(MODELS, 0.0)
    for number in range(IDS_MAX + 1):
        assert asked(admission, alert(f"evt_{number}"), float(number)) is Verdict.ASK
    assert asked(admission, alert(f"evt_{IDS_MAX}"), 2.0 * IDS_MAX) is Verdict.DOUBLE
    assert asked(admission, alert("evt_1"), 2.0 * IDS_MAX) is Verdict.DOUBLE
    assert asked(admission, alert("evt_0"), 2.0 * IDS_MAX) is Verdict.ASK


deliveries = st.tuples(st.sampled_from("abcd"), st.sampled_from(MODELS), st.floats(0, 80), st.booleans())


@given(st.lists(deliveries, max_size=40))
def test_over_any_history_trainings_of_a_model_lie_apart_and_no_event_asks_twice(
    history: list[tuple[str, str, float, bool]],
) -> None:
    admission, now_s = Admission(MODELS, QUIET_S), 0.0
    times: dict[str, list[float]] = {model: [] for model in MODELS}
    ids: list[str] = []
    for id_, model, later_s, taken in history:
        now_s += later_s
        if asked(admission, alert(f"{model}/{id_}", model=model), now_s, taken=taken) is Verdict.ASK and taken:
            times[model].append(now_s)
            ids.append(f"{model}/{id_}")
    assert len(ids) == len(set(ids))
    for each in times.values():
        assert all(after - before >= QUIET_S for before, after in itertools.pairwise(each))
