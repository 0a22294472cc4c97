"""What a run found, as a table on the terminal, as JSON and as a page.

Used by `python -m benchmarks`. Always: all three show the same figures, but for the ratios of
latencies, for which a terminal is too narrow; none names a date, a host or a path outside this repository.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bare_onnxruntime import BatchSpeed
from benchmarks.batched import LOAD as BATCHED_LOAD
from benchmarks.batched import BatchedResult
from benchmarks.machine import Machine
from benchmarks.runs import Cell, cpu_ratio, throughput_ratio
from benchmarks.targets import TARGET_COLUMNS, Target

COLUMNS = (
    "contender",
    "requests/s",
    "spread",
    "p50 us",
    "p99 us",
    "CPU us/request",
    "requests/s : nghttpd",
    "CPU : nghttpd",
    "requests/s : plain",
    "CPU : plain",
)
LATENCY_COLUMNS = ("p50 : nghttpd", "p99 : nghttpd", "p50 : plain", "p99 : plain")
OTHERS_SHARE_MAX = 0.1
SHARE_MAX = 1.05  # above 1 by as much as a quiet machine's rounds differ

BARE_COLUMNS = ("batch of", "rows/s", "us/batch", "us/row")


@dataclass(frozen=True)
class Result:
    """All of one run. bare: the perceptron by batch size; command: how to run it again."""

    machine: Machine
    command: str
    cells: Sequence[Cell]
    bare: Sequence[BatchSpeed]
    batched: BatchedResult
    targets: Sequence[Target]

    @property
    def passed(self) -> bool:
        return all(target.passed for target in self.targets)

    @property
    def verified(self) -> int:
        return sum(cell.verified for cell in self.cells) + self.batched.verified

    @property
    def others_share(self) -> float:
        """The largest share of the server's core that work outside the run took in any row's median round."""
        return max(self.batched.others_share, *(cell.others_share for cell in self.cells))

    @property
    def disturbance(self) -> str | None:
        """Why the figures are not to be published, or None: ratios mislead too, once neighbours take turns as well."""
        if self.others_share > OTHERS_SHARE_MAX:
            return (
                f"other work took {_percent(self.others_share)} of the server's core, expected at most "
                f"{_percent(OTHERS_SHARE_MAX)}. Run it again while the machine does nothing else."
            )
        if self.batched.share > SHARE_MAX:
            return (
                f"employment: {_percent(self.batched.share)} of what bare ONNX Runtime can do was served, which cannot "
                "be: the bare runs were disturbed. Run it again while the machine does nothing else."
            )
        return None


def compared(cell: Cell, cells: Sequence[Cell]) -> tuple[Cell, Cell]:
    """The nghttpd's and the plain server's cell at the same load. Raises KeyError where the run lacks one."""
    same = {one.contender.name: one for one in cells if one.load == cell.load}
    return same[cell.contender.limit], same[cell.contender.plain]


def ratios(cell: Cell, cells: Sequence[Cell]) -> tuple[float, float, float, float]:
    """requests/s and CPU to nghttpd's, then requests/s and CPU to the plain server's."""
    limit, plain = compared(cell, cells)
    return (
        throughput_ratio(cell, limit),
        cpu_ratio(cell, limit),
        throughput_ratio(cell, plain),
        cpu_ratio(cell, plain),
    )


def latency_ratios(cell: Cell, cells: Sequence[Cell]) -> tuple[float, float, float, float]:
    """p50 and p99 to nghttpd's, then to the plain server's. Of the one run of latencies that a contender has."""
    limit, plain = compared(cell, cells)
    return (
        cell.p50_us / limit.p50_us,
        cell.p99_us / limit.p99_us,
        cell.p50_us / plain.p50_us,
        cell.p99_us / plain.p99_us,
    )


def as_json(result: Result) -> str:
    """Unrounded figures with names that say their units."""
    document: dict[str, Any] = {
        "machine": result.machine.as_dict(),
        "command": result.command,
        "verified_answers": result.verified,
        "others_share": result.others_share,
        "rows": [_row_document(cell, result.cells) for cell in result.cells],
        "bare_onnxruntime": [_speed_document(speed) for speed in result.bare],
        "employment": {
            "bare_onnxruntime": [_speed_document(speed) for speed in result.batched.bare],
            "rows_per_request": result.batched.request_rows,
            "in_flight": BATCHED_LOAD.in_flight,
            "rows_per_s": result.batched.served_rows_per_s,
            "cpu_us_per_row": result.batched.served_cpu_us,
            "share_of_bare": result.batched.share,
        },
        "targets": [target.as_dict() for target in result.targets],
    }
    return json.dumps(document, indent=2) + "\n"


def as_page(result: Result) -> str:
    """The page of docs/benchmarks.md."""
    parts = [
        "# Benchmarks",
        _INTRODUCTION.format(command=result.command),
        "## The machine",
        _markdown(("", ""), [(name, str(value)) for name, value in result.machine.as_dict().items()]),
        f"Work outside the run took at most {_percent(result.others_share)} of the server's core in the median round "
        f"of any row. {result.verified:,} answers were read beside the load and compared with bare ONNX Runtime's; all "
        "were right.",
        "## Targets",
        _markdown(TARGET_COLUMNS, [target.row for target in result.targets]),
        "## A 32-64-64-2 perceptron, one row a request, one worker",
    ]
    for label, cells in _by_load(result.cells):
        parts += [f"### {label.capitalize()}"]
        parts += [_markdown((*COLUMNS, *LATENCY_COLUMNS), [_page_row(cell, result.cells) for cell in cells])]
    parts += [
        "### Bare ONNX Runtime on the same core: the compute's limit",
        _markdown(BARE_COLUMNS, [_speed_row(speed) for speed in result.bare]),
        "## The employment model, several rows a request",
        _batched_sentence(result.batched),
        _markdown(BARE_COLUMNS, [_speed_row(speed) for speed in result.batched.bare]),
    ]
    return "\n\n".join(parts) + "\n"


def show(result: Result, console: Console) -> None:
    """The table of the run, then its targets."""
    table = Table(title="one row a request; employment is a tree model, all others a 32-64-64-2 perceptron")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=number == 0)
    for label, cells in _by_load(result.cells):
        table.add_row(f"[bold]{label}[/bold]")
        for cell in cells:
            table.add_row(*_cell_row(cell, result.cells))
        table.add_section()
    console.print(table)
    bare = Table(*BARE_COLUMNS, title="bare ONNX Runtime on the same core: perceptron, then employment")
    for speed in result.bare:
        bare.add_row(*_speed_row(speed))
    bare.add_section()
    for speed in result.batched.bare:
        bare.add_row(*_speed_row(speed))
    console.print(bare)
    console.print(_batched_sentence(result.batched), soft_wrap=True)
    promised = Table(*TARGET_COLUMNS, title="targets")
    for target in result.targets:
        promised.add_row(*target.row, style="green" if target.passed else "red")
    console.print(promised)
    console.print(f"{result.verified:,} answers were compared with bare ONNX Runtime's, all right.", soft_wrap=True)
    console.print(
        f"Work outside the run took up to {_percent(result.others_share)} of the server's core.", soft_wrap=True
    )


_INTRODUCTION = """\
How fast Roost serves, beside what it is built on and what it replaces. `{command}` writes this page.

Contenders take turns, so that whatever the machine does meanwhile meets all of them alike; ratios are taken inside a
round, and shown is the median over the rounds. All processes of a server run on one core, the load on another. The
load is h2load over HTTP/2 without TLS. CPU is user and system time of all of a server's processes: for Roost of the
worker, of control and of the parent. *Spread* is the fastest less the slowest round, as a share of the median.
Latencies come from a run of their own, since h2load pays a system call a request to write them down; their ratios are
those of that one run. They include the time that a request waits in a queue, so that at many in flight they tell of
throughput more than of the server's haste.

- **nghttpd** is libnghttp2's own C server. It takes the same POST body and answers with a file as long as Roost's
  answer: the transport's limit, with no model and no gRPC behind it.
- **plain grpc.aio** is what a careful team writes in an afternoon: generated stubs on `grpc.aio` and uvloop, one
  `session.run` for each request (`benchmarks/plain_server.py`).
- **Roost on grpcio** is Roost with `--listener grpcio`, its second listener.
- **rows counted** and **not counted** are the perceptron from a registry, with a baseline of ten bins for each of its
  32 inputs and 2 outputs: each row that is answered is counted by bin, or `drift.count` is off.
- **employment** is the demo model, a boosted forest of 100 trees, through `Predict`. Like all contenders it is sent one
  repeated row, whose branches a processor learns to foresee; different rows, further below, cost a forest more.

h2load counts a gRPC error as a success. So the bytes that came must be those of as many full answers, or the run fails;
and beside each run a client sends random rows and compares every answer with bare ONNX Runtime's."""


def _row_document(cell: Cell, cells: Sequence[Cell]) -> dict[str, Any]:
    throughput_nghttpd, cpu_nghttpd, throughput_plain, cpu_plain = ratios(cell, cells)
    p50_nghttpd, p99_nghttpd, p50_plain, p99_plain = latency_ratios(cell, cells)
    return {
        "contender": cell.contender.name,
        "in_flight": cell.load.in_flight,
        "connections": cell.load.connections,
        "requests_per_s": cell.requests_per_s,
        "spread": cell.spread,
        "rounds": len(cell.measurements),
        "p50_us": cell.p50_us,
        "p99_us": cell.p99_us,
        "cpu_us_per_request": cell.cpu_us,
        "throughput_to_nghttpd": throughput_nghttpd,
        "cpu_to_nghttpd": cpu_nghttpd,
        "throughput_to_plain": throughput_plain,
        "cpu_to_plain": cpu_plain,
        "p50_to_nghttpd": p50_nghttpd,
        "p99_to_nghttpd": p99_nghttpd,
        "p50_to_plain": p50_plain,
        "p99_to_plain": p99_plain,
        "others_share": cell.others_share,
        "verified_answers": cell.verified,
    }


def _speed_document(speed: BatchSpeed) -> dict[str, float]:
    return {"rows": speed.rows, "us": speed.us, "rows_per_s": speed.rows_per_s}


def _by_load(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    loads = dict.fromkeys(cell.load for cell in cells)
    return [(load.label, [cell for cell in cells if cell.load == load]) for load in loads]


def _cell_row(cell: Cell, cells: Sequence[Cell]) -> tuple[str, ...]:
    figures = (f"{cell.requests_per_s:,.0f}", _percent(cell.spread), f"{cell.p50_us:,.0f}", f"{cell.p99_us:,.0f}")
    return (cell.contender.name, *figures, f"{cell.cpu_us:.1f}", *(f"{ratio:.2f}" for ratio in ratios(cell, cells)))


def _page_row(cell: Cell, cells: Sequence[Cell]) -> tuple[str, ...]:
    return (*_cell_row(cell, cells), *(f"{ratio:.2f}" for ratio in latency_ratios(cell, cells)))


def _speed_row(speed: BatchSpeed) -> tuple[str, ...]:
    return (f"{speed.rows:,}", f"{speed.rows_per_s:,.0f}", f"{speed.us:,.1f}", f"{speed.us / speed.rows:.2f}")


def _batched_sentence(batched: BatchedResult) -> str:
    return (
        f"`Predict` with {batched.request_rows} rows a request, {BATCHED_LOAD.in_flight} in flight over "
        f"{BATCHED_LOAD.connections} connections: {batched.served_rows_per_s:,.0f} rows/s at "
        f"{batched.served_cpu_us:.2f} us of CPU a row, {_percent(batched.share)} of bare ONNX Runtime's best "
        f"(medians of {len(batched.pairs)} interleaved pairs). Bare, by batch size:"
    )


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---", *["---:"] * (len(columns) - 1)]
    lines = [columns, align, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
