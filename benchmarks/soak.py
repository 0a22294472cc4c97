"""`make soak`: the memory of a worker before and after so many requests.

Run by hand for a million requests, by the test suite for fewer. Always: what is weighed is the worker alone, once it is
ready and again when the load has ended.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import h2load
from benchmarks.contenders import SEED, contender
from benchmarks.cpu_time import rss_bytes
from benchmarks.h2load import Load
from benchmarks.machine import what_is_missing
from benchmarks.models import mlp_model
from benchmarks.servers import Served, roost_command, roost_registry_command, served
from loadtests.served_model import of_registry
from loadtests.verified_pool import verified_pool
from registry_client.opening import absolute_location

RSS_BYTES_MAX = 250 * 2**20
GROWTH_MAX = 1.1
LOAD = Load(connections=4, streams=64)
RUN_REQUESTS = 50_000


@dataclass(frozen=True)
class Weighed:
    """Resident bytes of the worker when it was ready and after `requests` answers."""

    requests: int
    before_bytes: int
    after_bytes: int

    @property
    def growth(self) -> float:
        return self.after_bytes / self.before_bytes

    @property
    def passed(self) -> bool:
        return self.before_bytes < RSS_BYTES_MAX and self.growth <= GROWTH_MAX


def perceptron(requests: int, folder: Path) -> Weighed:
    """A worker of the 32-64-64-2 perceptron."""
    file = folder / "mlp.onnx"
    file.write_bytes(mlp_model())
    with served(roost_command({"mlp": file}, "fast"), folder) as server:
        return _weighed(server, "mlp", mlp_model(), requests, folder)


def employment(requests: int, folder: Path, registry: str) -> Weighed:
    """A worker of the employment model. Raises ValueError where `registry` lacks it."""
    model_bytes = of_registry(registry, "employment", "stable")
    command = roost_registry_command(registry, "employment@stable", "--state", str(folder / "state"))
    with served(command, folder) as server:
        return _weighed(server, "employment", model_bytes, requests, folder)


def _weighed(server: Served, model: str, model_bytes: bytes, requests: int, folder: Path) -> Weighed:
    (worker,) = server.ready["workers"]
    before = rss_bytes(worker)
    pool = verified_pool(model, model_bytes, cases=1, rows_max=1, seed=SEED)
    callers = [contender(f"{model} {method}", server, method, pool, folder) for method in ("Predict", "ModelInfer")]
    for number, start in enumerate(range(0, requests, RUN_REQUESTS)):
        h2load.run(callers[number % 2].aim, LOAD, min(RUN_REQUESTS, requests - start))
    return Weighed(requests, before, rss_bytes(worker))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Weigh a worker under load.")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--registry", help="weigh its employment model; the perceptron where not given")
    arguments = parser.parse_args()
    missing = what_is_missing()
    if missing is not None:
        print(missing, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.registry is None:
            found = perceptron(arguments.requests, Path(scratch))
        else:
            found = employment(arguments.requests, Path(scratch), absolute_location(arguments.registry))
    print(
        f"worker: {found.before_bytes / 2**20:.0f} MiB when ready, {found.after_bytes / 2**20:.0f} MiB after "
        f"{found.requests:,} requests ({found.growth:.3f} x); at most {RSS_BYTES_MAX >> 20} MiB and {GROWTH_MAX:g} x."
    )
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())
