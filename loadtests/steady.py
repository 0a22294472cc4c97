"""Load profile `steady`: backend services that call without a pause and check each reply against bare ONNX Runtime's.

A locust file. Run it by `make load PROFILE=steady`, by `python -m loadtests.steady --model mlp --onnx mlp.onnx` or by
`locust -f loadtests/steady.py`, with locust's own options. Exit code 1 where one reply was wrong or
failed, or none came. Never imported by tests in their own process: importing locust patches sockets and threads.
"""

from __future__ import annotations

import locust  # noqa: F401  # isort: skip - before anything that imports ssl, which gevent must patch first

import os
import sys
import time
from pathlib import Path

import grpc
from locust import events, task

from loadtests import served_model
from loadtests.connected_user import CallFailed, ConnectedUser
from loadtests.verified_pool import WrongAnswer, verified_pool

USERS_DEFAULT, RUN_TIME_DEFAULT = "16", "20s"


@events.init_command_line_parser.add_listener
def _add_arguments(parser) -> None:
    group = parser.add_argument_group("steady")
    group.add_argument("--target", default="127.0.0.1:8001", help="host:port of the server's predictions")
    group.add_argument("--model", default="employment", help="name under which the model is served")
    group.add_argument("--onnx", default="", help="the served ONNX file; its session gives the expected answers")
    group.add_argument("--bundle", default="", help="folder of the served bundle, in place of --onnx")
    group.add_argument(
        "--registry", default="sqlite:///.roost/mlflow.db", help="where neither is given: the registry served from"
    )
    group.add_argument("--alias", default="stable", help="alias of the served version in that registry")
    group.add_argument("--rows-max", type=int, default=8, help="rows of a call: 1 to this many, at random")
    group.add_argument("--cases", type=int, default=512, help="size of the pool of different requests")
    group.add_argument("--scale", type=float, default=None, help="standard deviation of random floats")
    group.add_argument("--timeout-s", type=float, default=5.0, help="deadline of a call")
    group.add_argument("--seed", type=int, default=0, help="of the pool and of the order of calls")


@events.init.add_listener
def _make_pool(environment, **_) -> None:
    options = environment.parsed_options
    try:
        environment.pool = verified_pool(
            options.model,
            _model_bytes(options),
            cases=options.cases,
            rows_max=options.rows_max,
            seed=options.seed,
            scale=options.scale,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"steady: {error}")


@events.quitting.add_listener
def _refuse_an_idle_run(environment, **_) -> None:
    if environment.stats.total.num_requests == 0:
        print("steady: no call was answered, so nothing was checked.", file=sys.stderr)
        environment.process_exit_code = 1


def _model_bytes(options) -> bytes:
    if options.onnx:
        return served_model.of_file(Path(options.onnx))
    if options.bundle:
        return served_model.of_bundle(Path(options.bundle))
    return served_model.of_registry(options.registry, options.model, options.alias)


class SteadyUser(ConnectedUser):
    """A service with a connection of its own and one call in flight, Predict and ModelInfer in equal parts."""

    @task
    def predict(self) -> None:
        case = self._next_case()
        self._call("Predict", self.prediction.Predict, case.predict, case.check_predict)

    @task
    def model_infer(self) -> None:
        case = self._next_case()
        self._call("ModelInfer", self.inference.ModelInfer, case.infer, case.check_infer)

    def _next_case(self):
        return self.environment.pool[int(self.random.integers(len(self.environment.pool)))]

    def _call(self, name: str, method, request, check) -> None:
        """Calls, then checks outside the time that counts, and reports one request to locust."""
        began_ns, failure, size = time.perf_counter_ns(), None, 0
        try:
            reply = method(request, timeout=self.options.timeout_s)
        except grpc.RpcError as error:
            ended_ns = time.perf_counter_ns()
            failure = CallFailed(f"{error.code().name}: {error.details()}")
        else:
            ended_ns, size = time.perf_counter_ns(), reply.ByteSize()
            failure = _failure_of(check, reply)
        self.environment.events.request.fire(
            request_type="grpc",
            name=name,
            response_time=(ended_ns - began_ns) / 1e6,
            response_length=size,
            exception=failure,
            context={},
        )


def _failure_of(check, reply) -> Exception | None:
    try:
        check(reply)
    except WrongAnswer as error:
        return error
    return None


def main() -> None:
    """Becomes locust, with this file and no web page: 16 users for 20 s unless the command line says otherwise.

    Locust loads the file itself, and an event's listeners may be registered once only: hence a fresh process image.
    """
    defaults = ["--headless", "--users", USERS_DEFAULT, "--spawn-rate", USERS_DEFAULT, "--run-time", RUN_TIME_DEFAULT]
    locust_command = [sys.executable, "-m", "locust", "-f", __file__, *defaults, "--only-summary"]
    os.execv(sys.executable, [*locust_command, *sys.argv[1:]])


if __name__ == "__main__":
    main()
