"""Load profile `bad_canary`: a version that goes bad is deployed under load; how long until it is home, by itself?

Each reply is held to the version that it claims: a canary's NaN is right where its model says NaN, and counted as bad.
Calls that fail while the canary has a share are counted as its own; before and afterwards they are failures. A locust
file. Run it by `python -m loadtests.bad_canary --model churn --registry FOLDER --canary-version 4 --weight 5`; it ends
by itself. Exit code 1 where the canary did not go home, or answered later, or a reply was wrong.
"""

from __future__ import annotations

import locust  # noqa: F401  # isort: skip - before anything that imports ssl, which gevent must patch first

import sys
import time

import gevent
import grpc
from locust import events

from loadtests.claiming_user import Answered, CallFailed, ClaimingUser, add_arguments, become_locust, make_pool
from loadtests.operator_calls import OperatorCalls
from loadtests.trial_watched import Trial

PPM = 1_000_000
RUN_TIME_DEFAULT = "120s"
POLL_S = 0.02


@events.init_command_line_parser.add_listener
def _add_arguments(parser) -> None:
    group = add_arguments(parser, "bad_canary")
    group.add_argument("--canary-version", required=True, help="the version that goes bad")
    group.add_argument("--weight", type=float, default=5.0, help="its share in percent")
    group.add_argument("--warm-s", type=float, default=1.0, help="of load before it is deployed")
    group.add_argument("--after-s", type=float, default=2.0, help="of load once it is home")


@events.init.add_listener
def _prepare(environment, **_) -> None:
    options = environment.parsed_options
    environment.calls = OperatorCalls(options.admin, options.model, "bad_canary")
    try:
        stable = environment.calls.state().stable.version
        environment.pool = make_pool(options, [stable, options.canary_version])
    except grpc.RpcError as error:
        sys.exit(f"bad_canary: {options.admin}: {error.code().name}: {error.details()}")
    except (OSError, ValueError) as error:
        sys.exit(f"bad_canary: {error}")
    environment.trial = Trial(stable, options.canary_version)


@events.test_start.add_listener
def _start(environment, **_) -> None:
    environment.watching = gevent.spawn(_watch, environment)


@events.test_stop.add_listener
def _stop(environment, **_) -> None:
    environment.watching.kill()
    if environment.trial.is_out:
        environment.calls.rollback()


@events.quitting.add_listener
def _report(environment, **_) -> None:
    trial = environment.trial
    print("bad_canary: " + "\n".join(trial.lines()))
    if not trial.home_ns or not trial.canary_replies + trial.failed_calls:
        environment.process_exit_code = 1


def _watch(environment) -> None:
    """Deploys, waits until it is gone, and ends the run a little later."""
    options, trial, calls = environment.parsed_options, environment.trial, environment.calls
    gevent.sleep(options.warm_s)
    try:
        state = calls.deploy(trial.canary, round(options.weight * PPM / 100))
        # The canary may have gone home before this reply: it has had its share all the same.
        trial.deployed_ns = time.perf_counter_ns()
        while state.HasField("canary"):
            gevent.sleep(POLL_S)
            state = calls.state()
    except grpc.RpcError as error:
        trial.refusal = f"{error.code().name}: {error.details()}"
        gevent.spawn(environment.runner.quit)  # from a greenlet of its own: the end of the run ends this one
        return
    trial.home_ns = time.perf_counter_ns()
    trial.quarantined = next((one.reason for one in state.quarantined), "")
    gevent.sleep(options.after_s)
    gevent.spawn(environment.runner.quit)


class TrialUser(ClaimingUser):
    """Predict and ModelInfer in equal parts."""

    def begin(self) -> bool:
        return self.environment.trial.is_out

    def check(self, began: bool, answered: Answered) -> Exception | None:
        return self.environment.trial.answered(
            answered.version, answered.case.is_bad(answered.version), answered.began_ns, answered.ended_ns
        )

    def call_failed(self, began: bool, answered: Answered, failure: CallFailed) -> Exception | None:
        if not began:
            return failure
        self.environment.trial.failed(str(failure))
        return None


if __name__ == "__main__":
    become_locust(__file__, RUN_TIME_DEFAULT)
