"""`python -m pipelines.scoring.agreement NAME`: whether a bundle answers alike here, on Ray and through a server.

All rows of the evaluation, as raw as a caller would send them, by every engine; a table of how far answers lie apart.
Always: a row whose answers lie further apart than the bound, or are finite on one side only, is counted and fails it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipelines.definition import EXAMPLES
from pipelines.deploy.options import Options
from pipelines.deploy.server import serving
from pipelines.examples import Examples, read_examples
from pipelines.running import DEFAULT_FOLDER, DEFAULT_REGISTRY, in_one_line, work_of
from pipelines.scoring.bundles import bundle_of
from pipelines.scoring.engines import Answers, Engine, local, on_ray
from pipelines.scoring.rows import Piece, input_names, read_pieces
from pipelines.scoring.served import by_server
from pipelines.work import Say
from registry_client.manifest import Manifest
from registry_client.names import USUAL_ALIAS
from registry_client.verify import VerifiedBundle

RTOL: Final = 1e-6
LOCAL, RAY, SERVER = "local", "ray", "server"


@dataclass(frozen=True)
class Agreement:
    """worst: the largest relative difference. apart: rows of which an answer is further than RTOL from `local`'s."""

    engine: str
    rows: int
    worst: float
    apart: int
    seconds: float

    @property
    def holds(self) -> bool:
        return self.apart == 0 and self.rows > 0


def write_rows(examples: Examples, manifest: Manifest, path: Path) -> None:
    """A column for each feature, under the names that the bundle gives them."""
    numbers, texts = input_names(manifest)
    columns = dict(zip(numbers, (pa.array(column) for column in examples.numbers.T), strict=True))
    if examples.texts is not None:
        columns |= {name: pa.array(column.tolist()) for name, column in zip(texts, examples.texts.T, strict=True)}
    pq.write_table(pa.table(columns), path)


def agreements(bundle: VerifiedBundle, rows: Path, engines: Mapping[str, Engine]) -> list[Agreement]:
    """Of each engine with `local`, which is the first."""
    expected, seconds = _answered(local, bundle, rows)
    told = [Agreement(LOCAL, _rows(expected), 0.0, 0, seconds)]
    for name, engine in engines.items():
        answers, seconds = _answered(engine, bundle, rows)
        told.append(compared(name, expected, answers, seconds))
    return told


def compared(name: str, expected: Answers, answers: Answers, seconds: float) -> Agreement:
    """Labels, too: numbers that are equal are next to each other, all others count by their distance."""
    rows = _rows(answers)
    if expected.keys() != answers.keys() or _rows(expected) != rows or rows == 0:
        return Agreement(name, rows, np.inf, max(_rows(expected), rows), seconds)
    distances = np.column_stack([_distances(expected[output], answers[output]) for output in expected])
    return Agreement(name, rows, float(distances.max()), int((distances > RTOL).any(axis=1).sum()), seconds)


def _distances(expected: npt.NDArray[np.generic], answers: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """float64[rows, outputs], relative; 0 for two NaNs, infinite where only one is finite."""
    wanted, got = (values.reshape(len(values), -1).astype(np.float64) for values in (expected, answers))
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.abs(got - wanted) / np.abs(wanted)
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    return np.where(same, 0.0, np.where(np.isfinite(distances), distances, np.inf))


def _answered(engine: Engine, bundle: VerifiedBundle, rows: Path) -> tuple[Answers, float]:
    began_s = time.monotonic()
    parts = [answers for _, answers in engine(bundle, _pieces(rows, bundle))]
    outputs = [spec.name for spec in bundle.manifest.signature.outputs]
    return {name: np.concatenate([part[name] for part in parts]) for name in outputs}, time.monotonic() - began_s


def _pieces(rows: Path, bundle: VerifiedBundle) -> Iterable[Piece]:
    return read_pieces(rows, bundle.manifest, None)


def _rows(answers: Answers) -> int:
    return len(next(iter(answers.values())))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.scoring.agreement", description=__doc__)
    parser.add_argument("name", choices=EXAMPLES, nargs="?", default=EXAMPLES[0])
    parser.add_argument("--registry", default=DEFAULT_REGISTRY, help="whose stable version is asked")
    parser.add_argument("--folder", type=Path, default=Path(DEFAULT_FOLDER), help="where the pipeline's results lie")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    with in_one_line(given.name), tempfile.TemporaryDirectory(prefix="roost-agreement-") as scratch:
        work = work_of(given.name, registry=given.registry, folder=given.folder)
        examples = read_examples(work.of("features") / "evaluation.parquet")
        bundle = bundle_of(f"{given.name}@{USUAL_ALIAS}", given.registry)
        write_rows(examples, bundle.manifest, Path(scratch) / "rows.parquet")
        with console.status(f"{given.name}: {len(examples):,} rows") as status:
            told = asyncio.run(_beside_a_server(bundle, Path(scratch), given.registry, status.update))
    _show(console, bundle, told)
    return 0 if all(one.holds for one in told) else 1


async def _beside_a_server(bundle: VerifiedBundle, scratch: Path, registry: str, say: Say) -> list[Agreement]:
    name = bundle.manifest.name
    async with serving(Options(own_server=True), name, registry, scratch / "serving", say) as server:
        engines = {RAY: on_ray} if find_spec("ray") is not None else {}
        say(f"{name}: by every engine")
        every = {**engines, SERVER: by_server(server.target)}
        return await asyncio.to_thread(agreements, bundle, scratch / "rows.parquet", every)


def _show(console: Console, bundle: VerifiedBundle, told: list[Agreement]) -> None:
    table = Table("engine", "rows", "furthest from local", "rows apart", "took", "rows/s", box=None)
    for one in told:
        figures = (f"{one.rows:,}", f"{one.worst:.2g}", f"{one.apart:,}", f"{one.seconds:.1f} s")
        table.add_row(one.engine, *figures, f"{one.rows / max(one.seconds, 1e-9):,.0f}")
    console.print(f"{bundle.manifest.name}, digest {bundle.digest[:12]}; apart from {RTOL:g} of a value on")
    console.print(table)
    if RAY not in [one.engine for one in told]:
        console.print("Ray is not installed here, and was not tried: pip install roost-server[train,ray].")
    for one in told:
        if not one.holds:
            print(f"agreement: {one.engine} answers {one.apart:,} of {one.rows:,} rows otherwise", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
