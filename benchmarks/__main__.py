"""`make bench`: one table from one interleaved run: Roost, its transport's and model's limits, a plain server.

Writes bench.json and bench.md into `--out`, and the page of the documentation where `--page` names it. Exit codes:
0 all answers were right; 1 one was wrong, with `--check` a target was missed, or a disturbed run was to be published by
`--page`; 2 something is not installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.bare_onnxruntime import BareModel
from benchmarks.batched import input_arrays, measure_batched
from benchmarks.contenders import SEED, contender, employment_server, mlp_contenders
from benchmarks.h2load import Load, WrongRun
from benchmarks.machine import LOAD_CORE, Machine, what_is_missing
from benchmarks.models import mlp_model
from benchmarks.report import Result, as_json, as_page, show
from benchmarks.runs import Plan, measure_load
from benchmarks.servers import REPOSITORY
from benchmarks.targets import BUSY, ONE, targets
from loadtests.verified_pool import WrongAnswer, verified_pool
from registry_client.opening import absolute_location

TABLE_CHARACTERS = 150  # of the widest table; where the output is no terminal, rich would cut it at 80

EMPLOYMENT_ROW = "employment, Predict, one repeated row"

MANY_STREAMS = Load(connections=4, streams=16)
MANY_CONNECTIONS = Load(connections=64, streams=1)

FULL = Plan(
    loads=((ONE, 3), (MANY_STREAMS, 3), (BUSY, 5), (MANY_CONNECTIONS, 3)),
    seconds=0.8,
    latency_s=0.4,
    bare_s=0.2,
    batched_pairs=5,
)
QUICK = Plan(
    loads=((ONE, 1), (MANY_STREAMS, 1), (BUSY, 3), (MANY_CONNECTIONS, 1)),
    seconds=0.15,
    latency_s=0.05,
    bare_s=0.02,
    batched_pairs=1,
)


def measured(plan: Plan, registry: str, command: str, console: Console) -> Result:
    """One whole run. Raises WrongRun or WrongAnswer where an answer is wrong."""
    pool = verified_pool("mlp", mlp_model(), cases=1, rows_max=1, seed=SEED)
    with tempfile.TemporaryDirectory() as scratch, console.status("starting servers") as status:
        folder = Path(scratch)

        def said(text: str) -> None:
            status.update(text)

        with mlp_contenders(folder) as contenders, employment_server(folder, registry) as (server, model_bytes):
            one_row = verified_pool("employment", model_bytes, cases=64, rows_max=1, seed=SEED)
            contenders.append(contender(EMPLOYMENT_ROW, server, "Predict", one_row, folder))
            cells = [
                cell
                for load, rounds in plan.loads
                for cell in measure_load(contenders, load, rounds, plan, folder, said)
            ]
            batched = measure_batched(server, "employment", model_bytes, plan, folder, said)
        said("bare ONNX Runtime by batch size")
        bare = BareModel(mlp_model(), input_arrays(pool[0])).speeds(plan.bare_s)
    return Result(Machine.here(), command, cells, bare, batched, targets(cells, batched))


def command_of(quick: bool, page: Path | None) -> str:
    """What writes such a page again. A page outside the repository is nobody else's, and is not named."""
    flags = ["--quick"] if quick else []
    if page is not None and page.resolve().is_relative_to(REPOSITORY):
        flags += ["--page", str(page.resolve().relative_to(REPOSITORY))]
    return f"make bench BENCH='{' '.join(flags)}'" if flags else "make bench"


def main() -> int:
    arguments = _arguments()
    missing = what_is_missing()
    if missing is not None:
        print(missing, file=sys.stderr)
        return 2
    registry = absolute_location(arguments.registry)
    # Kernels too are made before, on all cores: a pinned server would compile them beside the others that start.
    for step in (["warm"], ["train", "employment", "--registry", registry, "--if-missing"]):
        ended = subprocess.run([sys.executable, "-m", "server.cli", *step], cwd=REPOSITORY, check=False).returncode
        if ended != 0:
            print(f"bench: roost {step[0]} ended with code {ended}; its own words are above.", file=sys.stderr)
            return 2
    os.sched_setaffinity(0, {LOAD_CORE})
    console = Console(width=max(Console().width, TABLE_CHARACTERS))
    try:
        command = command_of(arguments.quick, arguments.page)
        result = measured(QUICK if arguments.quick else FULL, registry, command, console)
    except (WrongRun, WrongAnswer) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    show(result, console)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "bench.json").write_text(as_json(result))
    (arguments.out / "bench.md").write_text(as_page(result))
    if result.disturbance is not None:
        print(f"bench: {result.disturbance}", file=sys.stderr)
    if arguments.page is not None:
        if result.disturbance is not None:
            print(f"bench: {arguments.page} stays as it is.", file=sys.stderr)
            return 1
        arguments.page.write_text(as_page(result))
    return 1 if arguments.check and not result.passed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Roost beside its limits.")
    parser.add_argument("--quick", action="store_true", help="one short round of everything: figures are rough")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a target is missed")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for bench.json and bench.md")
    parser.add_argument("--page", type=Path, help="also write the page here, unless the run was disturbed")
    parser.add_argument("--registry", default="sqlite:///.roost/mlflow.db", help="where the employment model is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
