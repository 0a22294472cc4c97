"""The callers of profiles in which versions change: backend services that hold each reply to the version it claims.

Used by the locust files `canary_flip`, `bad_canary` and `drift`, which tell it what else to check. Imports locust:
never loaded by tests in their own process.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
from locust import task

from loadtests import served_model
from loadtests.claimed_versions import ClaimedCase, claimed_pool
from loadtests.connected_user import CallFailed, ConnectedUser
from loadtests.verified_pool import WrongAnswer

USERS_DEFAULT = "16"


@dataclass(frozen=True)
class Answered:
    """A call that was answered. version: None for one that failed."""

    began_ns: int
    ended_ns: int
    case: ClaimedCase
    version: str | None
    key: str = ""


class ClaimingUser(ConnectedUser):
    """A connection of its own, one call in flight, of either protocol. Subclasses may have more tasks, and look at what
    came in `check`."""

    abstract = True

    def begin(self) -> object:
        """Whatever `check` wants to know of the moment before the call: here, when it was."""
        return time.monotonic_ns()

    def check(self, began, answered: Answered) -> Exception | None:
        """What is wrong with a reply that is right by itself."""
        return None

    def call_failed(self, began, answered: Answered, failure: CallFailed) -> Exception | None:
        """What to report of a call that failed; None where that was to be expected."""
        return failure

    @task
    def predict(self) -> None:
        self.call_predict()

    @task
    def model_infer(self) -> None:
        self.call_infer()

    def call_predict(self, key: str = "") -> None:
        case = self._next_case()
        request = case.predict
        if key:
            request = type(request).FromString(request.SerializeToString())
            request.routing_key = key
        name = "Predict, keyed" if key else "Predict"
        self._call(name, self.prediction.Predict, request, case, case.check_predict, key)

    def call_infer(self) -> None:
        case = self._next_case()
        self._call("ModelInfer", self.inference.ModelInfer, case.infer, case, case.check_infer, "")

    def _next_case(self) -> ClaimedCase:
        return self.environment.pool[int(self.random.integers(len(self.environment.pool)))]

    def _call(self, name: str, method, request, case: ClaimedCase, check, key: str) -> None:
        """Calls, then checks outside the time that counts, and reports one request to locust."""
        began, began_ns, size = self.begin(), time.perf_counter_ns(), 0
        try:
            reply = method(request, timeout=self.options.timeout_s)
        except grpc.RpcError as error:
            ended_ns = time.perf_counter_ns()
            failed = CallFailed(f"{error.code().name}: {error.details()}")
            failure = self.call_failed(began, Answered(began_ns, ended_ns, case, None, key), failed)
        else:
            ended_ns, size = time.perf_counter_ns(), reply.ByteSize()
            try:
                failure = self.check(began, Answered(began_ns, ended_ns, case, check(reply), key))
            except WrongAnswer as wrong:
                failure = wrong
        self.environment.events.request.fire(
            request_type="grpc",
            name=name,
            response_time=(ended_ns - began_ns) / 1e6,
            response_length=size,
            exception=failure,
            context={},
        )


def add_arguments(parser, profile: str):
    """The options that these profiles share; the group, for more."""
    group = parser.add_argument_group(profile)
    group.add_argument("--target", default="127.0.0.1:8001", help="host:port of the server's predictions")
    group.add_argument("--admin", default="127.0.0.1:8003", help="host:port of the server's admin port")
    group.add_argument("--model", default="employment", help="name under which the model is served")
    group.add_argument(
        "--registry", default="sqlite:///.roost/mlflow.db", help="the registry served from: it has the right answers"
    )
    group.add_argument("--rows-max", type=int, default=8, help="rows of a call: 1 to this many, at random")
    group.add_argument("--cases", type=int, default=256, help="size of the pool of different requests")
    group.add_argument("--scale", type=float, default=None, help="standard deviation of random floats")
    group.add_argument("--timeout-s", type=float, default=5.0, help="deadline of a call")
    group.add_argument("--seed", type=int, default=0, help="of the pool and of the order of calls")
    return group


def make_pool(options, versions) -> list[ClaimedCase]:
    """The requests, with the answers of these versions as the registry has them. Raises ValueError, OSError."""
    models = {version: served_model.of_version(options.registry, options.model, version) for version in versions}
    return claimed_pool(
        options.model,
        models,
        cases=options.cases,
        rows_max=options.rows_max,
        seed=options.seed,
        scale=options.scale,
    )


def become_locust(file: str, run_time: str) -> None:
    """This process becomes locust, with `file` and no web page: 16 users unless the command line says otherwise.

    Locust loads the file itself, and an event's listeners may be registered once only: hence a fresh process image.
    """
    defaults = ["--headless", "--users", USERS_DEFAULT, "--spawn-rate", USERS_DEFAULT, "--run-time", run_time]
    command = [sys.executable, "-m", "locust", "-f", str(Path(file)), *defaults, "--only-summary"]
    os.execv(sys.executable, [*command, *sys.argv[1:]])
