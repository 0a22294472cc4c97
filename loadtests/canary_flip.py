"""Load profile `canary_flip`: an operator flips the canary's weight while services call and check every reply.

Each reply is held to the version that it claims. While a weight stands, replies are also held to it: at 0 % no canary
answers, at 100 % nobody else does, and a call with a routing key is answered by the variant that the published rule
names. A locust file. Run it by `python -m loadtests.canary_flip --model churn --registry FOLDER --canary-version 4`;
without --canary-version, the canary that is out there is flipped, and left at the last weight. Exit code 1 where one
reply was wrong or failed, or no flip was made.
"""

from __future__ import annotations

import locust  # noqa: F401  # isort: skip - before anything that imports ssl, which gevent must patch first

import itertools
import sys
import time

import gevent
import grpc
from locust import events, task

from loadtests.claiming_user import Answered, ClaimingUser, add_arguments, become_locust, make_pool
from loadtests.operator_calls import OperatorCalls
from loadtests.standing_weight import PPM, Standing
from loadtests.verified_pool import WrongAnswer

KEYS = 10_000
RUN_TIME_DEFAULT = "20s"


class Flips:
    """Deploys, flips, and takes back what it has deployed. standing: None while a flip is under way."""

    def __init__(self, options) -> None:
        self.calls = OperatorCalls(options.admin, options.model, "canary_flip")
        self.weights = [round(float(percent) * PPM / 100) for percent in options.weights.split(",")]
        self.pause_s = options.flip_ms / 1000
        self.standing: Standing | None = None
        self.made = 0
        self.answered: dict[str, int] = {}
        state = self.calls.state()
        self.deployed = bool(options.canary_version)
        if self.deployed:
            state = self.calls.deploy(options.canary_version, 0)
        if not state.HasField("canary"):
            raise ValueError(f"model {options.model}: expected a canary, got none. --canary-version V deploys one.")
        self.stable, self.canary, self.salt = state.stable.version, state.canary.version, state.rollout.salt

    def run(self, environment) -> None:
        for weight in itertools.cycle(self.weights):
            self.standing = None
            began_ns, failure = time.perf_counter_ns(), None
            try:
                state = self.calls.set_weight(weight)
            except grpc.RpcError as error:
                failure = RuntimeError(f"{error.code().name}: {error.details()}")
            else:
                self.made += 1
                if state.workers_following == state.workers_ready:
                    self.standing = Standing(weight, self.stable, self.canary, self.salt)
            environment.events.request.fire(
                request_type="admin",
                name="SetTrafficWeights",
                response_time=(time.perf_counter_ns() - began_ns) / 1e6,
                response_length=0,
                exception=failure,
                context={},
            )
            gevent.sleep(self.pause_s)

    def wrong(self, standing: Standing | None, answered: Answered) -> Exception | None:
        """What is wrong with who answered; standing: the weight from before the call to after it."""
        assert answered.version is not None
        self.answered[answered.version] = self.answered.get(answered.version, 0) + 1
        if standing is None or standing is not self.standing:
            return None
        expected = standing.expected(answered.key)
        if expected in (None, answered.version):
            return None
        return WrongAnswer(f"expected version {expected} while {standing}, got another")


@events.init_command_line_parser.add_listener
def _add_arguments(parser) -> None:
    group = add_arguments(parser, "canary_flip")
    group.add_argument("--canary-version", default="", help="deployed at the start, taken back at the end")
    group.add_argument("--weights", default="0,5,50,100,20", help="the canary's shares in percent, one after the other")
    group.add_argument("--flip-ms", type=float, default=100.0, help="between two flips")


@events.init.add_listener
def _prepare(environment, **_) -> None:
    try:
        environment.flips = Flips(environment.parsed_options)
        environment.pool = make_pool(environment.parsed_options, [environment.flips.stable, environment.flips.canary])
    except grpc.RpcError as error:
        sys.exit(f"canary_flip: {environment.parsed_options.admin}: {error.code().name}: {error.details()}")
    except (OSError, ValueError) as error:
        sys.exit(f"canary_flip: {error}")


@events.test_start.add_listener
def _start(environment, **_) -> None:
    environment.flipping = gevent.spawn(environment.flips.run, environment)


@events.test_stop.add_listener
def _stop(environment, **_) -> None:
    environment.flipping.kill()
    if environment.flips.deployed:
        environment.flips.calls.rollback()


@events.quitting.add_listener
def _report(environment, **_) -> None:
    flips = environment.flips
    told = ", ".join(f"{count:,} by version {version}" for version, count in sorted(flips.answered.items()))
    print(f"canary_flip: {flips.made:,} flips; replies: {told or 'none'}")
    if not flips.made or len(flips.answered) < 2:
        print(
            "canary_flip: expected flips, and replies of both versions, so that something was checked.", file=sys.stderr
        )
        environment.process_exit_code = 1


class FlippedUser(ClaimingUser):
    """Predict with and without a key, and ModelInfer, in equal parts."""

    def begin(self) -> Standing | None:
        return self.environment.flips.standing

    def check(self, began: Standing | None, answered: Answered) -> Exception | None:
        return self.environment.flips.wrong(began, answered)

    @task
    def predict_keyed(self) -> None:
        self.call_predict(f"user-{self.random.integers(KEYS)}")


if __name__ == "__main__":
    become_locust(__file__, RUN_TIME_DEFAULT)
