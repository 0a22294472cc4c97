"""Plans as people write them, and the document that the fleet shares."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.lifecycle.decisions import HOME, STAYS
from server.lifecycle.documents import (
    TEXT_CHARACTERS_MAX,
    BadRollout,
    RolloutDocument,
    document_of,
    merge,
    read_document,
    with_the_fleets,
    without_quarantined,
)
from server.lifecycle.explain import KINDS, told, would_change
from server.lifecycle.plan import DEFAULT_PLAN, PPM, BadPlan, Plan, Promotion, Step, plan_document, read_plan
from server.lifecycle.state import Artifact, ModelState, Rollout
from tests.lifecycle.histories import first_state

DIGESTS = st.sampled_from(["a" * 64, "b" * 64, "c" * 64])
DOCUMENTS = st.builds(
    RolloutDocument,
    revision=st.integers(0, 3),
    stable=st.one_of(st.just(""), DIGESTS),
    id=st.sampled_from(["", "r1"]),
    digest=st.one_of(st.just(""), DIGESTS),
    weight_ppm=st.integers(0, 2),
    quarantine=st.dictionaries(DIGESTS, st.sampled_from(["why", "because"])),
)


def test_a_plan_is_read_as_it_was_written() -> None:
    assert read_plan(plan_document(DEFAULT_PLAN)) == DEFAULT_PLAN
    assert read_plan({"steps": [{"weight": 0.05}]}) == Plan((Step(50_000),), Promotion.AUTOMATIC)


def test_the_default_plan_is_the_one_that_the_documentation_shows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "lifecycle.md").read_text(encoding="utf-8")
    shown = re.search(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert read_plan(json.loads(shown[1])) == DEFAULT_PLAN


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "plan: expected an object"),
        ({"steps": []}, "plan.steps: expected"),
        ({"steps": [{}]}, r"plan.steps\[0\].weight: expected a share from 0 to 1, got none"),
        ({"steps": [{"weight": 5}]}, r"plan.steps\[0\].weight: expected a share from 0 to 1, got 5"),
        ({"steps": [{"weight": float("nan")}]}, r"weight: expected a share"),
        ({"steps": [{"weight": True}]}, r"weight: expected a share"),
        ({"steps": [{"weight": 0.5}, {"weight": 0.5}]}, r"steps\[1\].weight: expected more than in the step before"),
        ({"steps": [{"weight": 0.5, "bake": 3}]}, r"steps\[0\].bake: expected one of"),
        ({"steps": [{"weight": 0.5, "bake_s": -1}]}, "bake_s: expected a number from 0"),
        ({"steps": [{"weight": 0.5}], "promotion": "maybe"}, "plan.promotion: expected one of"),
        ({"steps": [{"weight": 0.001}] * 40}, "1 to 32 steps"),
    ],
)
def test_a_bad_plan_is_refused_naming_the_key(document: Any, words: str) -> None:
    with pytest.raises(BadPlan, match=words):
        read_plan(document)


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_merging_does_not_depend_on_the_order_of_news(one: Any, two: Any, three: Any) -> None:
    assert merge(one, one) == one
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@given(DOCUMENTS, DOCUMENTS)
def test_quarantine_only_grows_and_beats_everything(one: RolloutDocument, two: RolloutDocument) -> None:
    merged = merge(one, two)
    assert set(merged.quarantine) == set(one.quarantine) | set(two.quarantine)
    followed = without_quarantined(merged)
    assert followed.digest not in merged.quarantine
    assert followed.stable not in merged.quarantine
    assert merged.revision == max(one.revision, two.revision)


def test_a_document_survives_its_tag_and_a_foreign_one_is_refused() -> None:
    canary = Rollout("r", 7, Artifact("2", "2" * 64), DEFAULT_PLAN, started=True, weight_ppm=10_000)
    document = document_of(replace(first_state(), canary=canary, revision=4, quarantine={"3" * 64: "w" * 500}))
    read = read_document(document.to_text())
    assert (read.revision, read.digest, read.weight_ppm) == (4, "2" * 64, 10_000)
    assert list(read.quarantine) == ["3" * 64]
    for text in ("", "[]", "{}", '{"format":1}', document.to_text().replace("10000", '"x"')):
        with pytest.raises(BadRollout):
            read_document(text)


def named(numbers: range) -> dict[str, str]:
    """Digests whose order is not that of their age."""
    return {sha256(str(number).encode()).hexdigest(): "why" for number in numbers}


@pytest.mark.parametrize("digests", [10, 56, 57, 64, 1000])
def test_a_tag_holds_the_newest_of_a_quarantine_that_is_too_long_for_it(digests: int) -> None:
    quarantine = named(range(digests))
    text = RolloutDocument(revision=10**9, stable="a" * 64, quarantine=quarantine).to_text()
    kept = read_document(text).quarantine
    assert len(text) <= TEXT_CHARACTERS_MAX
    assert len(kept) >= min(digests, 55)
    assert kept.keys() == set(list(quarantine)[-len(kept) :])


def test_what_the_fleet_has_just_found_is_not_left_out_for_what_it_knows_and_neither_is_a_servers_last() -> None:
    own, news = named(range(500)), named(range(1000, 1020))
    tag = with_the_fleets(RolloutDocument(quarantine=own), {**news, **named(range(450, 480))}).to_text()
    assert {*news, list(own)[-1]} <= read_document(tag).quarantine.keys()
    fleet, last = named(range(1000, 1060)), named(range(1))
    tag = with_the_fleets(RolloutDocument(quarantine=last), fleet).to_text()
    assert last.keys() <= read_document(tag).quarantine.keys()


@given(DOCUMENTS, DOCUMENTS)
def test_the_fleets_quarantine_is_merged_and_nothing_else_of_its_document(one: Any, two: Any) -> None:
    expected = replace(one, quarantine=merge(one, two).quarantine)
    assert with_the_fleets(one, two.quarantine) == expected


def test_every_kind_of_entry_is_told_in_words() -> None:
    for kind in KINDS:
        sentence = told({"kind": kind, "at_utc": "now", "to": {}, "from": {}, "operator": "eva", "reason": "why"})
        assert sentence.startswith("now: ")
        assert "{" not in sentence


def test_what_would_change_things_is_told_for_every_state() -> None:
    stable = first_state()
    canary = Rollout("r", 7, Artifact("2", "2" * 64), DEFAULT_PLAN, started=True, weight_ppm=10_000)
    states = [
        stable,
        ModelState("m"),
        replace(stable, frozen=True),
        replace(stable, canary=replace(canary, started=False)),
        replace(stable, quarantine={"3" * 64: "why"}),
        replace(stable, canary=canary),
        replace(stable, canary=replace(canary, weight_ppm=PPM)),
        replace(stable, canary=canary, frozen=True),
        replace(stable, canary=canary, frozen=True, withheld=frozenset({HOME + canary.artifact.digest})),
        replace(stable, canary=replace(canary, paused=True)),
        replace(stable, canary=replace(canary, paused=True, weight_ppm=500_000)),
        replace(stable, canary=replace(canary, step=3)),
        replace(stable, canary=canary, withheld=frozenset({STAYS + canary.artifact.digest})),
        replace(stable, canary=replace(canary, plan=Plan((Step(1),), Promotion.NEVER))),
        replace(stable, canary=replace(canary, plan=Plan((Step(1),), Promotion.APPROVED), verdict="not_worse")),
    ]
    told_of = [would_change(state) for state in states]
    assert all(sentences for sentences in told_of)
    assert len(set(told_of)) == len(states)
    by_hand = " ".join(would_change(replace(stable, canary=replace(canary, paused=True, weight_ppm=500_000))))
    assert f"goes on with step 1 of {len(DEFAULT_PLAN.steps)}, at 1 %." in by_hand


@pytest.mark.parametrize(
    ("weight_ppm", "frozen", "promised"),
    [(10_000, False, True), (PPM, False, False), (0, False, False), (10_000, True, False)],
)
def test_going_home_by_itself_is_only_promised_where_it_can_happen(
    weight_ppm: int, frozen: bool, promised: bool
) -> None:
    canary = Rollout("r", 7, Artifact("2", "2" * 64), DEFAULT_PLAN, started=True, weight_ppm=weight_ppm)
    words = " ".join(would_change(replace(first_state(), canary=canary, frozen=frozen)))
    assert ("as soon as it is found to be worse" in words) is promised
