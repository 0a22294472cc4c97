"""Deploying to a server that plays its part: what is asked of it, what is told of it, and what is done in the end.

Over 400 lines: each test is a way that one deployment goes, in the one world that the fixtures play.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from pipelines.deploy import deploying, keeping, rollout, server
from pipelines.deploy.deploying import deploy, follows
from pipelines.deploy.options import Options
from pipelines.deploy.outcome import Outcome, Result
from pipelines.deploy.watch import OPERATOR, Decision
from pipelines.deploy.wording import evaluation_words
from pipelines.parameters import Deploy, Parameters
from pipelines.refusal import Refusal
from pipelines.work import Work, write_json
from registry_client.errors import NotInRegistry, VerificationFailed
from registry_client.registry import Version
from tests.pipelines.deploy.deployed_world import NAME, Watched, definition, examples
from tests.pipelines.deploy.planted_decisions import (
    ADVANCED,
    BY_ITSELF,
    CANARY,
    DEPLOYED,
    HELD,
    HOME,
    SECOND,
    STABLE,
    STARTED,
    STEPS,
    decision,
    places,
    state,
)
from tests.pipelines.deploy.played_admin import PlayedAdmin, Refused, serving

NEVER = {"traffic": "never"}


class PlayedRegistry:
    """Versions 1, which is stable, and 2; what is attached to them."""

    def __init__(self) -> None:
        self.stable = 1
        self.attached: dict[str, bytes] = {}
        self.fails = False
        self.files: dict[str, bytes] = {}

    def versions(self, name: str) -> tuple[Version, ...]:
        digests = {1: STABLE, 2: CANARY}
        return tuple(
            Version(name, number, digest, ("stable",) if number == self.stable else (), {})
            for number, digest in digests.items()
        )

    def resolve(self, name: str, reference: int | str) -> Version:
        number = self.stable if reference == "@stable" else int(reference)
        if number == 0:
            raise NotInRegistry(f"{name}@stable", expected="a version", got="none", hint="")
        return self.versions(name)[number - 1]

    def fetch(self, version: Version, cache: Any) -> Any:
        return SimpleNamespace(files=self.files)

    def attach(self, name: str, version: int, file_name: str, content: bytes) -> None:
        if self.fails:
            raise OSError(28, "No space left on device")
        self.attached[file_name] = content


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> PlayedRegistry:
    played = PlayedRegistry()
    monkeypatch.setattr(deploying, "open_registry", lambda location, must_exist: played)

    async def answers(self: Any, server: Any) -> str:
        return "it answers"

    monkeypatch.setattr(deploying._Deployment, "_check_answers", answers)
    return played


@pytest.fixture
def work(tmp_path: Path) -> Work:
    location = str(tmp_path / "registry")
    made = Work(definition(), within(timeout_s=20), tmp_path / "work", tmp_path, tmp_path, location)
    with made.output("register") as folder:
        document = {"name": NAME, "version": 2, "digest": CANARY, "registry": location}
        write_json(folder / "registered.json", document)
    return made


def within(timeout_s: float) -> Parameters:
    return Parameters(deploy=Deploy(steps=STEPS, rows_per_s=500, timeout_s=timeout_s))


def soon(work: Work) -> Work:
    """The same with no time to lose."""
    return replace(work, parameters=within(timeout_s=1))


@pytest.fixture
def admin(registry: PlayedRegistry) -> Iterator[PlayedAdmin]:
    played = PlayedAdmin(state())
    played.on["DeployCanary"] = lambda request: begun(played)
    played.on["Rollback"] = lambda request: taken_back(played)
    with serving(played) as running:
        yield running


def begun(admin: PlayedAdmin) -> None:
    admin.decide(DEPLOYED, state(3, CANARY, phase="loading"))
    admin.decide(STARTED, canary_state(4, 250_000))


def canary_state(revision: int, weight_ppm: int, **rollout_fields: Any) -> Any:
    found = state(revision, CANARY, phase="canary", **rollout_fields)
    found.weight_ppm = weight_ppm
    return found


def promoted(admin: PlayedAdmin, registry: PlayedRegistry, *, told: bool = True) -> None:
    begun(admin)
    admin.decide(ADVANCED, canary_state(5, 500_000))
    registry.stable = 2
    admin.decide(BY_ITSELF, state(6, stable=CANARY), told=told)


def taken_back(admin: PlayedAdmin) -> None:
    revision = admin.state.revision + 1
    back = decision(revision, "rolled_back", SECOND, places(), operator=OPERATOR, reason="held by the pipeline")
    admin.decide(back, state(revision))


def deployed(work: Work, admin: PlayedAdmin, **options: Any) -> Outcome:
    return deploy(work, Options(**{"admin": admin.address, **NEVER, **options}), Watched())


def refused(work: Work, admin: PlayedAdmin, **options: Any) -> str:
    with pytest.raises(Refusal) as caught:
        deployed(work, admin, **options)
    return str(caught.value)


# --- Its way ---------------------------------------------------------------------------------------------------------
def test_a_promotion_is_told_with_its_evidence_and_kept_beside_the_version(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry
) -> None:
    admin.on["DeployCanary"] = lambda request: promoted(admin, registry)
    outcome = deployed(work, admin)
    assert (outcome.result, outcome.serves) == (Result.PROMOTED, True)
    (request,) = admin.asked
    assert (request.version, request.operation.operator, request.operation.if_revision) == ("2", OPERATOR, 2)
    assert json.loads(request.plan_json)["promotion"] == "automatic"
    document = json.loads((work.beside / "rollout.json").read_text())
    kinds = [entry["kind"] for entry in document["journal"]]
    assert kinds == ["canary_deployed", "canary_started", "advanced", "promoted"]
    assert document["answers"] == "it answers"
    assert [json.loads(content) for content in registry.attached.values()] == [document]
    assert all(name.startswith("rollout-2") for name in registry.attached)


def test_a_promotion_that_no_event_told_of_is_read_in_the_journal(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry
) -> None:
    admin.on["DeployCanary"] = lambda request: promoted(admin, registry, told=False)
    assert deployed(work, admin).result is Result.PROMOTED


def test_a_version_that_went_home_is_told_with_the_reason_and_is_not_asked_for_again(
    work: Work, admin: PlayedAdmin
) -> None:
    def goes_home(request: Any) -> None:
        begun(admin)
        admin.decide(HOME, state(5))

    admin.on["DeployCanary"] = goes_home
    outcome = deployed(work, admin)
    assert (outcome.result, outcome.serves, len(admin.asked)) == (Result.ROLLED_BACK, False, 1)
    assert outcome.reason.startswith("Went home")


def test_the_same_version_at_the_same_revision_is_asked_for_with_the_same_id(work: Work, admin: PlayedAdmin) -> None:
    def declines(request: Any) -> None:
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "version: it is in quarantine. Release it.")

    admin.on["DeployCanary"] = declines
    for _ in range(2):
        refused(work, admin)
    admin.state = state(7)
    refused(work, admin)
    first, second, third = (request.operation.request_id for request in admin.asked)
    assert first == second != third


def test_what_the_server_refuses_is_said_in_its_words(work: Work, admin: PlayedAdmin) -> None:
    def declines(request: Any) -> None:
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "version: expected a signature, got none. Sign it.")

    admin.on["DeployCanary"] = declines
    assert "expected a signature, got none. Sign it" in refused(work, admin)


def test_a_version_that_no_worker_loads_counts_as_taken_back_with_the_failure(work: Work, admin: PlayedAdmin) -> None:
    def fails(request: Any) -> None:
        admin.decide(DEPLOYED, state(3, CANARY, phase="loading"))
        failure = {"kind": "canary_refused", "revision": 4, "evidence": {"failure": "golden example 0 is off"}}
        admin.decide(Decision({**HOME.entry, **failure}), state(4))

    admin.on["DeployCanary"] = fails
    outcome = deployed(work, admin)
    assert outcome.result is Result.ROLLED_BACK
    assert "golden example 0 is off" in outcome.reason


@pytest.mark.parametrize("look", ["GetEvidence", "Explain"])
def test_a_look_that_is_declined_takes_the_canary_back_and_keeps_what_is_known(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry, look: str
) -> None:
    def full(request: Any) -> None:
        if admin.state.canary.digest == CANARY:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "a reply that large is not sent")

    admin.on["DeployCanary"] = lambda request: begun(admin)
    admin.on[look] = full
    outcome = deployed(soon(work), admin)
    assert outcome.result is Result.HELD
    assert "It was taken back" in outcome.done
    assert len(admin.asked) == 2
    assert "The server does not say: a reply that large is not sent" in outcome.document["explained"]
    assert registry.attached


def test_a_registry_that_can_not_be_read_after_a_promotion_loses_neither_it_nor_its_evidence(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying, "FOLLOWS_S_MAX", 0.5)
    real = registry.resolve

    def torn(name: str, reference: int | str) -> Version:
        if reference == "@stable" and registry.stable == 2:
            raise VerificationFailed(f"{name}@stable", expected="a digest", got="another", hint="")
        return real(name, reference)

    monkeypatch.setattr(registry, "resolve", torn)
    admin.on["DeployCanary"] = lambda request: promoted(admin, registry)
    outcome = deployed(work, admin)
    assert outcome.result is Result.PROMOTED
    assert "The registry's @stable does not follow yet (churn@stable: expected a digest" in " ".join(outcome.problems)
    assert registry.attached


def test_a_decision_between_the_look_and_the_request_is_looked_at_again(work: Work, admin: PlayedAdmin) -> None:
    def once(request: Any) -> None:
        if len(admin.asked) == 1:
            admin.state = state(3)
            raise Refused(grpc.StatusCode.ABORTED, "operation.if_revision: expected 3, got 2.")
        raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "enough of this test")

    admin.on["DeployCanary"] = once
    refused(work, admin)
    assert [request.operation.if_revision for request in admin.asked] == [2, 3]


# --- Held ------------------------------------------------------------------------------------------------------------
def test_a_plan_held_for_drift_is_taken_back_at_the_revision_that_was_seen(work: Work, admin: PlayedAdmin) -> None:
    def held(request: Any) -> None:
        begun(admin)
        admin.decide(HELD, canary_state(6, 250_000, paused=True))

    admin.on["DeployCanary"] = held
    outcome = deployed(work, admin)
    assert outcome.result is Result.HELD
    assert outcome.reason == "The predictions of version 2 differ from its stable's."
    assert "version 1 serves alone" in outcome.done
    assert admin.asked[1].operation.if_revision == 6


def test_a_canary_that_is_not_decided_in_time_is_taken_back_unless_it_is_to_stay(
    work: Work, admin: PlayedAdmin
) -> None:
    outcome = deployed(soon(work), admin)
    assert outcome.result is Result.HELD
    assert "not decided within 1 s" in outcome.reason
    assert len(admin.asked) == 2
    admin.state, admin.decided = state(), []
    outcome = deployed(soon(work), admin, leave_canary=True)
    assert "stays on trial" in outcome.done
    assert len(admin.asked) == 3


def test_a_canary_that_an_operator_has_taken_over_is_left_to_them(work: Work, admin: PlayedAdmin) -> None:
    def paused(request: Any) -> None:
        begun(admin)
        by_hand = decision(6, "paused", SECOND, SECOND, operator="ada", reason="over lunch")
        admin.decide(by_hand, canary_state(6, 250_000, paused=True))

    admin.on["DeployCanary"] = paused
    outcome = deployed(soon(work), admin)
    assert (outcome.result, len(admin.asked)) == (Result.HELD, 1)
    assert "to ada" in outcome.done


def test_a_promotion_just_before_it_is_taken_back_counts(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry
) -> None:
    def too_late(request: Any) -> None:
        registry.stable = 2
        admin.decide(BY_ITSELF, state(6, stable=CANARY))
        raise Refused(grpc.StatusCode.ABORTED, "operation.if_revision: expected 6, got 4.")

    admin.on["Rollback"] = too_late
    outcome = deployed(soon(work), admin)
    assert (outcome.result, outcome.done) == (Result.PROMOTED, "")


def test_a_server_that_goes_away_leaves_the_canary_and_says_so(
    work: Work, registry: PlayedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "AWAY_S_MAX", 1.0)
    played = PlayedAdmin(state())
    with serving(played) as running:
        running.on["DeployCanary"] = lambda request: begun(running)

        class Ends(Watched):
            """Ends the server once the canary has its share."""

            def show(self, shown: rollout.Rollout) -> None:
                if shown.trial.phase == "canary":
                    stop.set()

        stop = threading.Event()
        threading.Thread(target=lambda: stop.wait(20) and running.end(), daemon=True).start()
        outcome = deploy(work, Options(admin=running.address, traffic="never"), Ends())
    assert outcome.result is Result.HELD
    assert "did not answer for 1 s" in outcome.reason
    assert "left as it is" in outcome.done
    assert outcome.document["evidence"] is None


def test_a_server_that_falls_silent_while_it_is_asked_is_named_with_what_was_done(
    work: Work, admin: PlayedAdmin
) -> None:
    def silent(request: Any) -> None:
        begun(admin)
        raise Refused(grpc.StatusCode.UNAVAILABLE, "version: the registry does not answer")

    admin.on["DeployCanary"] = silent
    text = refused(work, admin)
    assert "got UNAVAILABLE: version: the registry does not answer" in text
    assert "It was taken back: version 1 serves alone, as before." in text
    assert "a rollout that runs is joined" in text


def test_a_rollout_that_an_operator_began_is_followed_and_stays_theirs(work: Work, admin: PlayedAdmin) -> None:
    by_hand = decision(3, "canary_deployed", places(), places(canary=CANARY), operator="ada", reason="a try")
    admin.decide(by_hand, canary_state(4, 250_000))
    admin.decide(STARTED, canary_state(4, 250_000))
    outcome = deployed(soon(work), admin)
    assert (outcome.result, admin.asked) == (Result.HELD, [])
    assert "to ada" in outcome.done


# --- Not even tried --------------------------------------------------------------------------------------------------
def test_another_canary_is_named_with_who_deployed_it(work: Work, admin: PlayedAdmin) -> None:
    other = decision(3, "canary_deployed", places(), places(canary="d" * 64), operator="ada", reason="a try")
    admin.decide(other, state(4, "d" * 64, phase="canary"))
    text = refused(work, admin)
    assert "version 9 on trial, deployed by ada (a try)" in text
    assert "roost rollback churn" in text
    assert admin.asked == []


def test_a_frozen_model_is_not_deployed_to(work: Work, admin: PlayedAdmin) -> None:
    admin.state.frozen = True
    assert "roost unfreeze churn" in refused(work, admin)
    assert admin.asked == []


def test_a_server_of_other_models_is_named_with_what_to_do(work: Work, admin: PlayedAdmin) -> None:
    admin.served = ["fraud"]
    text = refused(work, admin)
    assert "expected one that serves churn, got one of fraud" in text
    assert "--model churn@stable" in text


def test_a_server_of_another_registry_or_of_none_is_not_deployed_to(
    work: Work, admin: PlayedAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.known["2"] = "e" * 64
    assert "expected one that follows" in refused(work, admin)
    monkeypatch.setattr(deploying, "LOOKED_S_MAX", 0.3)
    admin.known = {}
    assert "expected one that follows" in refused(work, admin)
    assert admin.asked == []


def test_an_admin_port_where_nobody_answers_is_named(work: Work, registry: PlayedRegistry) -> None:
    with pytest.raises(Refusal, match=r"a Roost's admin port at 127\.0\.0\.1:1, got none"):
        deploy(work, Options(admin="127.0.0.1:1"), Watched())


def test_a_version_that_is_stable_costs_no_server(
    work: Work, registry: PlayedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.stable = 2
    monkeypatch.setattr(deploying, "serving", None)
    outcome = deploy(work, Options(), Watched())
    assert (outcome.result, outcome.serves, outcome.document) == (Result.STABLE_ALREADY, True, {})


def test_a_version_registered_elsewhere_is_registered_again_first(work: Work, registry: PlayedRegistry) -> None:
    with pytest.raises(Refusal, match="Run the register stage again"):
        deploy(replace(work, registry="elsewhere"), Options(), Watched())


def test_a_digest_that_was_asked_for_is_the_only_one_that_is_deployed(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry
) -> None:
    # As another deployment from this folder leaves it, between the command's look and this one.
    assert "Another deployment from this folder came between" in refused(work, admin, digest="d" * 64)
    assert not admin.asked
    admin.on["DeployCanary"] = lambda request: promoted(admin, registry)
    assert deployed(work, admin, digest=CANARY).result is Result.PROMOTED


def test_a_version_whose_digest_is_another_now_is_registered_again_first(work: Work, registry: PlayedRegistry) -> None:
    with work.output("register") as folder:
        write_json(
            folder / "registered.json", {"name": NAME, "version": 2, "digest": "d" * 64, "registry": work.registry}
        )
    with pytest.raises(Refusal, match=r"expected digest dddddddddddd, got .* Run the register stage again"):
        deploy(work, Options(), Watched())


def test_what_the_registry_calls_stable_is_no_canary_on_a_server_that_is_behind(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry
) -> None:
    registry.stable = 2
    said = refused(work, admin)
    assert "the registry's @stable, to be served, got version 1 by the server" in said
    assert "Nothing was tried." in said
    assert not admin.asked


def test_a_model_without_a_stable_version_says_what_makes_one(work: Work, registry: PlayedRegistry) -> None:
    registry.stable = 0
    with pytest.raises(Refusal, match=r"churn@stable: .* Say which one is: roost pull churn:2"):
        deploy(work, Options(), Watched())


def test_two_deployments_at_once_from_one_place_are_one_too_many(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry
) -> None:
    with server.alone(work.folder / deploying.SERVING, NAME):
        assert "another that is under way" in refused(work, admin)


# --- Traffic ---------------------------------------------------------------------------------------------------------
def test_a_server_with_callers_of_its_own_is_left_to_them(
    work: Work, admin: PlayedAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "MEASURED_S", 0.2)
    with work.output("features") as folder:
        examples(50).write(folder / "evaluation.parquet")
    admin.calls_a_look = 400
    outcome = deployed(soon(work), admin, traffic="auto")
    assert "of its own" in outcome.document["traffic"]["played"]
    assert outcome.document["traffic"]["calls"] == 0


def test_a_server_without_callers_and_no_rows_to_play_ends_held_and_says_why(
    work: Work, admin: PlayedAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "MEASURED_S", 0.2)
    outcome = deployed(work, admin, traffic="auto")
    assert outcome.result is Result.HELD
    assert "features/evaluation.parquet no rows to play" in outcome.reason
    assert len(admin.asked) == 2


def test_evidence_that_can_not_be_kept_is_said_and_changes_nothing(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(work: Work, file_name: str, content: bytes) -> None:
        raise Refusal("tracking", expected="an answer", got="none", hint="Start it.")

    registry.fails = True
    monkeypatch.setattr(keeping, "attach", down)
    admin.on["DeployCanary"] = lambda request: promoted(admin, registry)
    made_here(work, CANARY)
    (work.beside / "rollout.json").mkdir()  # nothing can be put in its place
    outcome = deployed(work, admin)
    assert outcome.result is Result.PROMOTED
    problems = " ".join(outcome.problems[-3:])
    assert "not beside the version: [Errno 28] No space left" in problems
    assert "not at the training's run: tracking: expected an answer" in problems
    assert "not in " in problems


def test_the_trainings_run_gets_the_evidence_too(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: dict[str, bytes] = {}
    monkeypatch.setattr(keeping, "attach", lambda work, file_name, content: run.update({file_name: content}))
    admin.on["DeployCanary"] = lambda request: promoted(admin, registry)
    made_here(work, CANARY)
    deployed(work, admin)
    assert run == registry.attached


def test_another_versions_evidence_is_none_of_this_trainings(
    work: Work, admin: PlayedAdmin, registry: PlayedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that is deployed by its digest may be older than what lies here."""
    monkeypatch.setattr(keeping, "attach", lambda *arguments: pytest.fail("attached to another's run"))
    admin.on["DeployCanary"] = lambda request: promoted(admin, registry)
    made_here(work, "e" * 64)
    assert deployed(work, admin).result is Result.PROMOTED
    assert registry.attached


def made_here(work: Work, digest: str) -> None:
    with work.output("bundle") as folder:
        (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


# --- Pure ------------------------------------------------------------------------------------------------------------
def test_a_server_follows_a_registry_whose_digests_it_knows() -> None:
    versions = PlayedRegistry().versions(NAME)
    assert follows({"1": STABLE}, versions)  # it has not seen the new one yet
    assert not follows({"1": CANARY}, versions)
    assert not follows({}, versions)


def test_the_journals_reason_has_the_measure_and_the_gates_passed() -> None:
    gates = [
        {"name": "auc", "passed": True},
        {"name": "slices", "passed": False},
        {"name": "slices", "passed": True},
    ]
    measure = {"measure": {"name": "auc", "title": "AUC"}, "whole": {"auc": 0.8123}}
    report = {"gates": gates, **measure, "rows": {"evaluation": 9000}}
    assert evaluation_words(report) == "AUC 0.8123 on 9,000 rows, 1 of 2 gates passed"
