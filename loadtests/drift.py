"""Load profile `drift`: traffic whose distribution changes at a stated moment; whether and when does the server say so?

Rows are made up as the served model's baseline has them, or real ones, replayed in their file's order (`--rows`).
`--shift-feature` moves one of them by `--shift-sd` standard deviations after `--shift-after` seconds. Each reply is
held to the version that it claims. A locust file. Run it by
`python -m loadtests.drift --model churn --registry FOLDER --shift-feature age --shift-sd 1 -t 180s`. Exit code 1 where
a reply was wrong or failed, or where a feature was shifted and no alarm of the inputs came after it, or one before it.
A window shows with its end: let the run last until a minute has ended after the shift. Where the server still learns
what is usual at an hour of the week (`drift.season`) no minute shows anything, and the last line says so.
"""

from __future__ import annotations

import locust  # noqa: F401  # isort: skip - before anything that imports ssl, which gevent must patch first

import itertools
import sys
import tempfile
import time
from pathlib import Path

import gevent
import grpc
import numpy as np
from locust import events

from loadtests.claimed_versions import ClaimedCase
from loadtests.claiming_user import ClaimingUser, add_arguments, become_locust
from loadtests.drift_watched import DriftWatched
from loadtests.drifting_rows import Arrays, cases_of, made_up_rows, real_rows, shifted
from loadtests.operator_calls import OperatorCalls
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError
from registry_client.opening import open_registry
from registry_client.verify import VerifiedBundle

RUN_TIME_DEFAULT = "180s"
CASES_DEFAULT = 4096  # so many rows that a pool of them is as good as fresh ones
POLL_S = 0.5
LOOK_S_MAX = 10.0


class Rows:
    """The calls to make, and those to make once the shift is on; each in their order, over and over."""

    def __init__(self, usual: list[ClaimedCase], moved: list[ClaimedCase]) -> None:
        self._usual, self._moved = itertools.cycle(usual), itertools.cycle(moved)
        self.is_shifted = False

    def next(self) -> ClaimedCase:
        return next(self._moved if self.is_shifted else self._usual)


@events.init_command_line_parser.add_listener
def _add_arguments(parser) -> None:
    group = add_arguments(parser, "drift")
    parser.set_defaults(cases=CASES_DEFAULT)
    group.add_argument("--shift-feature", default="", help="the input that moves; none: nothing does")
    group.add_argument("--shift-sd", type=float, default=1.0, help="by how many of its standard deviations")
    group.add_argument("--shift-after", type=float, default=65.0, help="seconds of usual traffic before it moves")
    group.add_argument("--rows", default="", help="a Parquet file of real rows, replayed in its order")
    group.add_argument("--pause-ms", type=float, default=20.0, help="between two calls of a user")


@events.init.add_listener
def _prepare(environment, **_) -> None:
    options = environment.parsed_options
    try:
        state = OperatorCalls(options.admin, options.model, "drift").state()
        bundles = _bundles(options, [held.version for held in (state.stable, state.canary) if held.version])
        environment.rows = _make_rows(options, bundles)
    except grpc.RpcError as error:
        sys.exit(f"drift: {options.admin}: {error.code().name}: {error.details()}")
    except (ArtifactError, OSError, ValueError) as error:
        sys.exit(f"drift: {error}")


@events.test_start.add_listener
def _start(environment, **_) -> None:
    environment.watched = DriftWatched(time.time())
    environment.watching = gevent.spawn(_watch, environment)
    if environment.parsed_options.shift_feature:
        environment.shifting = gevent.spawn_later(environment.parsed_options.shift_after, _shift, environment)


@events.test_stop.add_listener
def _stop(environment, **_) -> None:
    environment.watching.kill()


@events.quitting.add_listener
def _report(environment, **_) -> None:
    watched = environment.watched
    for line in watched.lines():
        print(f"drift: {line}")
    problem = _problem(environment.parsed_options, watched, environment.stats.total.num_requests)
    if problem:
        print(f"drift: {problem}", file=sys.stderr)
        environment.process_exit_code = 1


def _problem(options, watched: DriftWatched, calls: int) -> str:
    """What was not as it should be; empty where all was."""
    if calls == 0:
        return "no call was answered, so nothing was checked."
    if not options.shift_feature:
        alarm = watched.alarm("inputs")
        return "" if alarm is None else f"expected no alarm of the inputs without a shift, got one: {alarm.why}"
    if watched.shifted_s is None:
        return f"expected a run of more than --shift-after {options.shift_after:g} s, got a shorter one: --run-time."
    if watched.early("inputs"):
        return "expected no alarm of the inputs before the shift, got one: the usual rows are not the reference's."
    if not watched.alarm("inputs"):
        return "expected an alarm of the inputs after the shift, got none."
    return ""


def _bundles(options, versions: list[str]) -> dict[str, VerifiedBundle]:
    """Each version that may answer, as the registry has it."""
    registry = open_registry(options.registry)
    with tempfile.TemporaryDirectory() as scratch:
        cache = BundleCache(Path(scratch))
        return {version: registry.fetch(registry.resolve(options.model, version), cache) for version in versions}


def _make_rows(options, bundles: dict[str, VerifiedBundle]) -> Rows:
    stable = next(iter(bundles.values()))
    signature, baseline = stable.manifest.signature, stable.baseline()
    if baseline is None:
        raise ValueError(f"model {options.model}: expected a baseline in its bundle: roost bundle --reference.")
    random = np.random.default_rng(options.seed)
    sizes = random.integers(1, options.rows_max + 1, size=options.cases)
    if options.rows:
        usual = real_rows(stable, Path(options.rows))
        rows = len(next(iter(usual.values())))
        sizes = random.integers(1, options.rows_max + 1, size=rows)  # enough for all of them
    else:
        usual = made_up_rows(signature, baseline, int(sizes.sum()), random)
    models = {version: bundle.model_bytes for version, bundle in bundles.items()}

    def cases(inputs: Arrays) -> list[ClaimedCase]:
        return cases_of(options.model, models, inputs, sizes)

    if not options.shift_feature:
        return Rows(cases(usual), [])
    moved = shifted(signature, baseline, usual, options.shift_feature, options.shift_sd)
    return Rows(cases(usual), cases(moved))


def _shift(environment) -> None:
    environment.rows.is_shifted = True
    environment.watched.shifted_s = time.time()


def _watch(environment) -> None:
    """Looks at what the server says of drift, until the run ends."""
    options = environment.parsed_options
    with grpc.insecure_channel(options.admin, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        while True:
            try:
                reply = stub.GetDrift(admin_pb2.GetDriftRequest(model=options.model), timeout=LOOK_S_MAX)
            except grpc.RpcError as error:
                environment.watched.reason = f"GetDrift: {error.code().name}: {error.details()}"
            else:
                environment.watched.note(reply, time.time())
            gevent.sleep(POLL_S)


class DriftUser(ClaimingUser):
    """Predict and ModelInfer in equal parts, with a pause between two calls."""

    def wait_time(self) -> float:
        return self.options.pause_ms / 1000

    def _next_case(self) -> ClaimedCase:
        return self.environment.rows.next()


if __name__ == "__main__":
    become_locust(__file__, RUN_TIME_DEFAULT)
