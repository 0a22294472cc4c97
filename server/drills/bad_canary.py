"""The incident of docs/runbooks/bad-canary.md: a canary that passed every check answers NaN to some callers.

It goes home by itself. Then, where it is asked for, the control process dies and does not come back, and the operator
breaks the glass: `roost rollback --local`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from server.control.event_log import utc_text
from server.drills.carrying_out import Drill
from server.drills.model import BAD_FROM_AGE, NAME, Versions, model_bytes
from server.drills.stack import Settings, Stack, local_stack
from server.drills.traffic import Traffic
from server.drills.walk import Arrived, Follower, Walk
from server.lifecycle.explain import told

SETTINGS: Final[Settings] = {"server": {"drain_timeout_s": 5}}
CALLS_PER_S: Final = 200.0
ROWS: Final = 1  # of a call
WEIGHT: Final = "20%"
HOME_S_MAX: Final = 60.0
FOLLOWS_WITHIN_S: Final = 1.0  # workers follow a route within milliseconds; answers in flight come after it
BACK_S: Final = 1.0  # of traffic beside a dead control process, to see who answers
SIGNALS: Final = {"errors": "errors", "non_finite": "non-finite outputs", "timeouts": "timeouts"}


def drill(*, break_glass: bool = False, bad: bool = True, home_s_max: float = HOME_S_MAX) -> Drill:
    """break_glass: also with the control process dead. bad: False deploys a good version, so that a test sees the drill
    fail after `home_s_max` seconds of waiting."""
    return Drill(
        name="bad-canary",
        title="A canary that passed every check answers NaN to some callers.",
        runbook="docs/runbooks/bad-canary.md",
        incident=lambda walk, folder: _incident(walk, folder, break_glass, bad, home_s_max),
    )


def decision(kind: str, decisive: str) -> str:
    """The line of the runbook's table. kind: of the last decision; decisive: the signal that it stands on."""
    if kind != "went_home":
        return "It is not home: take it back by hand, with roost rollback."
    return (
        f"It went home by itself, for its {SIGNALS.get(decisive, decisive)}: nothing is left to be done to the "
        "traffic. Leave it in quarantine, and hand evidence and journal to whoever made it."
    )


def _incident(walk: Walk, folder: Path, break_glass: bool, bad: bool, home_s_max: float) -> None:
    versions = Versions(folder)
    first, second = versions.push(model_bytes()), versions.push(model_bytes(bias=0.1))
    third = versions.push(model_bytes(bias=0.2, nan_from_age=BAD_FROM_AGE if bad else None))
    walk.report.staged = [
        f"A server of {NAME}: version {second} is promoted first, so that version {first} is the last safe one.",
        f"{CALLS_PER_S:g} calls a second of one row each, every reply held to the version that it claims.",
        f"Version {third} is deployed with {WEIGHT} of the traffic; it "
        + (f"answers NaN to whoever is {BAD_FROM_AGE:g} or older." if bad else "is as good as the others."),
    ]
    walk.report.measured = [
        "Time to detect: from the first bad reply that a caller had until the server's decision to take the canary "
        "home. Time to decide: until the runbook's commands had been run, too.",
    ]
    with (
        local_stack(folder, versions.registry, SETTINGS) as stack,
        Traffic(stack.ready["listen"], versions.answers, calls_per_s=CALLS_PER_S, rows=ROWS) as traffic,
    ):
        with Follower(stack) as follower:
            walk.moment(f"The server is ready: version {first} answers.")
            _promote(walk, stack, second)
            home = _deploy_and_wait(walk, stack, follower, third, home_s_max)
            decided_s = time.time() if home is None else home.happened_s
            bad_replies = [reply for reply in traffic.replies() if reply.bad]
            if bad_replies:
                walk.moment("A caller has the first bad reply.", utc_text(bad_replies[0].at_s))
                walk.report.to_detect_s = None if home is None else decided_s - bad_replies[0].at_s
            _diagnose(walk, stack, third)
            _decide(walk, stack, bad_replies[0].at_s if bad_replies else None)
            _check_where_everybody_is(walk, stack, versions, first, second, third)
        started = follower.wait(lambda one: _is_start_of(one, third), 0.0)
        _count(walk, traffic, started, decided_s, third)
        if break_glass:
            _break_the_glass(walk, stack, traffic, first)
        everything = traffic.tally()
        walk.expect(
            "every reply is what its version answers, and no call fails",
            everything.requests > 0 == len(everything.wrong),
            f"{everything.requests:,} calls"
            + "".join(f"; {count:,} x {text}" for text, count in everything.wrong.items()),
        )  # fmt: skip


def _promote(walk: Walk, stack: Stack, version: str) -> None:
    reason = "a drill: a good version, so that there is a last safe one"
    walk.run(
        stack, "Before: a good version is tried", "canary", NAME, "--version", version, "--weight", "50%",
        "--reason", reason,
    )  # fmt: skip
    walk.run(stack, "Before: and promoted", "promote", NAME, "--reason", reason)


def _deploy_and_wait(walk: Walk, stack: Stack, follower: Follower, version: str, home_s_max: float) -> Arrived | None:
    walk.moment(f"Staged: version {version} is deployed.")
    walk.run(
        stack, "The bad canary is deployed",
        "canary", NAME, "--version", version, "--weight", WEIGHT, "--reason", "a drill: it will go bad",
    )  # fmt: skip
    home = follower.wait(lambda one: one.is_decision("went_home"), home_s_max)
    if home is None:
        walk.expect("the canary goes home by itself", False, f"it did not within {home_s_max:g} s")
    else:
        walk.moment(f"Decided by the server: {home.event['text']}", home.event["at_utc"])
        late_ms = 1000 * (home.seen_s - home.happened_s)
        walk.expect("the canary goes home by itself", True, f"on the operator's terminal {late_ms:.0f} ms later")
    return home


def _is_start_of(one: Arrived, version: str) -> bool:
    return one.is_decision("canary_started") and one.detail["to"]["canary"]["version"] == version


def _diagnose(walk: Walk, stack: Stack, version: str) -> None:
    """The runbook's first five minutes, in its order."""
    walk.run(stack, "Who serves, and what is in quarantine?", "status", NAME)
    walk.run(stack, "Why did it go home?", "explain", NAME)
    walk.run(stack, "What was counted against it?", "evidence", NAME)
    walk.run(stack, "What happened, in its order?", "events", NAME)
    walk.run(stack, "What was decided, and by whom?", "journal", "show", NAME, "--limit", "6")
    walk.metrics(
        stack, "Does the dashboard say the same?", "roost_decisions_total{", "roost_model_quarantined{",
        "roost_model_weight_ratio{",
    )  # fmt: skip
    verified = walk.run(stack, "Is the record whole?", "journal", "verify")
    walk.expect("the journal is whole", verified.exit_code == 0, verified.output.strip())
    refused = walk.run(
        stack, "May it come back? It is refused",
        "canary", NAME, "--version", version, "--weight", "5%", "--reason", "a drill: it must be refused", code=1,
    )  # fmt: skip
    walk.expect("the version is refused from now on", "quarantine" in refused.output, refused.output.strip()[-200:])


def _decide(walk: Walk, stack: Stack, began_s: float | None) -> None:
    last: dict[str, Any] = next((entry for entry in reversed(stack.journal()) if entry["kind"] == "went_home"), {})
    judgement = (last.get("evidence") or {}).get("judgement") or {}
    decisive = str(judgement.get("decisive") or "")
    walk.report.policy = [told(entry) for entry in stack.journal() if not entry.get("operator")]
    walk.report.decision = decision(str(last.get("kind", "")), decisive)
    walk.report.to_decide_s = None if began_s is None else time.time() - began_s
    walk.moment(f"Decided: {walk.report.decision}")
    walk.expect("the decision stands on its non-finite outputs", decisive == "non_finite", decisive or "nothing")


def _check_where_everybody_is(
    walk: Walk, stack: Stack, versions: Versions, first: str, second: str, third: str
) -> None:
    state = stack.state()
    canary = state.canary.version or "none"
    places = f"stable {state.stable.version}, last safe {state.last_safe.version}, canary {canary}"
    walk.expect("the stable version never changed", state.stable.version == second, places)
    walk.expect("the last safe version is still there", state.last_safe.version == first, places)
    walk.expect("there is no canary any more", not state.HasField("canary"), places)
    held = {one.digest: one.reason for one in state.quarantined}
    walk.expect(
        "the bad version's digest is in quarantine", versions.digests[third] in held,
        "; ".join(f"{digest[:12]}: {reason}" for digest, reason in held.items()) or "nobody is",
    )  # fmt: skip


def _count(walk: Walk, traffic: Traffic, started: Arrived | None, decided_s: float, third: str) -> None:
    since_s = decided_s if started is None else started.happened_s
    during = traffic.tally(since_s, decided_s)
    bad = [reply for reply in traffic.replies() if reply.bad]
    late_s = max((reply.at_s - decided_s for reply in bad), default=0.0)
    walk.report.counts = {
        "requests from its first share to the decision": during.requests,
        "of them the canary's": during.by_version.get(third, 0),
        "bad replies served, in all": len(bad),
        "last bad reply after the decision, in milliseconds": round(max(late_s, 0.0) * 1000),
    }
    walk.expect("callers had bad replies, or the drill shows nothing", bad != [], f"{len(bad)}")
    walk.expect("all bad replies were the canary's", {reply.version for reply in bad} <= {third}, f"{len(bad)}")
    walk.expect(
        f"no bad reply comes later than {FOLLOWS_WITHIN_S:g} s after the decision", late_s < FOLLOWS_WITHIN_S,
        f"the last came {abs(1000 * late_s):.0f} ms {'after' if late_s > 0 else 'before'} it",
    )  # fmt: skip


def _break_the_glass(walk: Walk, stack: Stack, traffic: Traffic, first: str) -> None:
    """The control process is gone, and its parent can't start another: going home works all the same."""
    revision = stack.state().revision
    stack.kill_control()
    killed_s = time.time()
    walk.moment("Staged: the control process is killed, and does not come back.")
    walk.run(stack, "Control is dead: nobody answers", "status", NAME, code=3)
    home = walk.run(
        stack, "Break the glass",
        "rollback", NAME, "--local", "--ready-file", stack.ready_file.name, "--reason", "a drill: control is dead",
    )  # fmt: skip
    home_s = time.time()
    walk.moment(f"Glass broken: {_what_was_done(home.output)}")
    time.sleep(BACK_S)
    during, after = traffic.tally(killed_s), traffic.tally(home_s)
    walk.expect(
        "serving goes on without a control process", during.requests > 0 == len(during.wrong),
        f"{during.requests:,} calls, {sum(during.wrong.values()):,} of them not right",
    )  # fmt: skip
    walk.expect(
        f"version {first}, the last safe one, answers alone", set(after.by_version) == {first}, dict(after.by_version)
    )
    stack.let_control_come()
    walk.moment("The parent runs again, and another control process answers.")
    state = stack.state()
    walk.expect(
        "the next control process stands by the decision",
        state.revision == revision + 1 and state.stable.version == first,
        f"revision {state.revision}, version {state.stable.version} is stable",
    )  # fmt: skip
    walk.run(stack, "Control is back: what does it say?", "status", NAME)
    walk.run(stack, "And the journal?", "journal", "show", NAME, "--limit", "2")
    broken = [entry for entry in stack.journal() if "break_glass" in (entry.get("evidence") or {})]
    walk.expect(
        "the journal has who broke the glass", [entry["operator"] for entry in broken] == ["drill"],
        "; ".join(told(entry) for entry in broken) or "no entry",
    )  # fmt: skip
    verified = walk.run(stack, "Is the record whole?", "journal", "verify")
    walk.expect("the journal is whole after that, too", verified.exit_code == 0, verified.output.strip())
    walk.report.counts["seconds from the kill to home"] = round(home_s - killed_s, 2)


def _what_was_done(output: str) -> str:
    lines = output.strip().splitlines()
    return next((line for line in lines if line.startswith(f"{NAME} is at")), " ".join(lines))
