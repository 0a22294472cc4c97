"""A small model with a baseline, rows whose truth is known, and files of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typer.testing import CliRunner

from benchmarks.swaps.versions import WIDTH, scaled
from native.route.layout import MAIN
from registry_client.baseline.builder import Choices
from registry_client.baseline.document import Baseline
from registry_client.baseline.reference import Batch, Naming, build_baseline
from registry_client.bundle import write_bundle
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun, record_golden
from registry_client.verify import read_verified
from server.cli.application import app
from server.replay.subject import Subject, subject_of
from tests.behaviour.worker_process import warm_kernels

NAME = "scaled"
NAMES = ("height", "weight", "age", "plan")
assert len(NAMES) == WIDTH
FACTOR = 2
MONDAY_US = 1_790_553_600 * 10**6  # 2026-09-28, a Monday, 0:00 UTC
SECOND_US = 10**6
MINUTE_US, HOUR_US, DAY_US = 60 * SECOND_US, 3600 * SECOND_US, 86_400 * SECOND_US
assert MAIN == 0


def normal(rows: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """float32[rows, 4]: three normal columns, the first one shifted, and a category of four codes."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(rows, WIDTH))
    found[:, 0] += shift
    found[:, 3] = random.integers(0, 4, rows)
    return found.astype(np.float32)


def baseline(reference: np.ndarray, **choices: Any) -> Baseline:
    model = read_onnx(scaled(FACTOR))
    built = build_baseline(
        model.signature,
        [Batch({"x": reference})],
        run=ReferenceRun(model.model_bytes, model.signature),
        naming=Naming({"x": NAMES}),
        choices=Choices(**choices),
    )
    return built.baseline


def bundle_in(folder: Path, reference: np.ndarray | None = None, **choices: Any) -> Path:
    """y = 2 x, with a baseline of the reference; 20,000 normal rows unless it is given."""
    model = read_onnx(scaled(FACTOR))
    write_bundle(
        folder,
        name=NAME,
        model_bytes=model.model_bytes,
        golden=record_golden(model, rows=2),
        meaning={"features": list(NAMES)},
        baseline=baseline(normal(20_000, 1) if reference is None else reference, **choices),
    )
    return folder


def subject(folder: Path, reference: np.ndarray | None = None, **choices: Any) -> Subject:
    warm_kernels()
    return subject_of(NAME, read_verified(bundle_in(folder / "bundle", reference, **choices)))


def table(x: np.ndarray, **others: Any) -> pa.Table:
    return pa.table({**{name: x[:, index] for index, name in enumerate(NAMES)}, **others})


def times(rows: int, first_us: int = MONDAY_US, step_us: int = SECOND_US) -> pa.Array:
    return pa.array(first_us + step_us * np.arange(rows), pa.timestamp("us", tz="UTC"))


def file_in(folder: Path, x: np.ndarray, name: str = "rows.parquet", **others: Any) -> Path:
    """Rows with the model's columns, and others beside them."""
    pq.write_table(table(x, **others), folder / name)
    return folder / name


class Outcome:
    """What a command said. `text` and `error` are its two streams."""

    def __init__(self, code: int, text: str, error: str) -> None:
        self.code, self.text, self.error = code, text, error

    def document(self) -> dict[str, Any]:
        import json

        assert self.code == 0, self.error
        found: dict[str, Any] = json.loads(self.text)
        return found

    def refusal(self, code: int = 1) -> str:
        """The one line of a refusal."""
        assert (self.code, self.text) == (code, ""), (self.code, self.text, self.error)
        assert self.error.startswith("roost: ")
        assert len(self.error.splitlines()) == 1, self.error
        return self.error.removeprefix("roost: ").strip()


Roost = Callable[..., Outcome]


def roost(*arguments: object) -> Outcome:
    """`roost replay ...`, through the application that the console script runs."""
    warm_kernels()
    result = CliRunner().invoke(app, ["replay", *(str(one) for one in arguments)], catch_exceptions=False)
    return Outcome(result.exit_code, result.stdout, result.stderr)
