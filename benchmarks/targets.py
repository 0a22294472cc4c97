"""What the project promises of its speed, and whether a run kept it.

Used by `python -m benchmarks` and by tests. Pure. All targets are ratios between contenders of one run, so that they
hold on slow and fast machines alike; the figures behind them are those of docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.batched import BatchedResult
from benchmarks.contenders import METHODS, nghttpd_name, plain_name, roost_name
from benchmarks.counted import counted_name
from benchmarks.h2load import Load
from benchmarks.runs import Cell, cpu_ratio, throughput_ratio

ONE = Load(connections=1, streams=1)
BUSY = Load(connections=4, streams=64)

CPU_TO_NGHTTPD_MAX = 2.0
THROUGHPUT_TO_NGHTTPD_MIN = 0.6
THROUGHPUT_TO_PLAIN_MIN = 30.0
P50_TO_PLAIN_MAX = 0.5
SHARE_OF_BARE_MIN = 0.9
CPU_OF_COUNTING_MAX = 1.05


TARGET_COLUMNS = ("target", "wanted", "got", "")


@dataclass(frozen=True)
class Target:
    """got is wanted to be at least or at most `bound`."""

    what: str
    bound: float
    at_least: bool
    got: float

    @property
    def passed(self) -> bool:
        return self.got >= self.bound if self.at_least else self.got <= self.bound

    @property
    def wanted(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"

    @property
    def row(self) -> tuple[str, str, str, str]:
        """As tables show it, under TARGET_COLUMNS."""
        return (self.what, self.wanted, f"{self.got:,.2f}", "kept" if self.passed else "MISSED")

    def as_dict(self) -> dict[str, object]:
        return {"what": self.what, "wanted": self.wanted, "got": self.got, "passed": self.passed}


def targets(cells: Sequence[Cell], batched: BatchedResult) -> list[Target]:
    """Every promise with what this run got. Raises KeyError where the run lacks a contender or a load."""
    found = {(cell.contender.name, cell.load): cell for cell in cells}
    kept = []
    for method in METHODS:
        roost, nghttpd, plain = (found[of(method), BUSY] for of in (roost_name, nghttpd_name, plain_name))
        one, plain_one = found[roost_name(method), ONE], found[plain_name(method), ONE]
        cpu, throughput = cpu_ratio(roost, nghttpd), throughput_ratio(roost, nghttpd)
        kept += [
            Target(f"{method}, {BUSY.label}: CPU per request / nghttpd's", CPU_TO_NGHTTPD_MAX, False, cpu),
            Target(f"{method}, {BUSY.label}: requests/s / nghttpd's", THROUGHPUT_TO_NGHTTPD_MIN, True, throughput),
            Target(
                f"{method}, {BUSY.label}: requests/s / plain grpc.aio's",
                THROUGHPUT_TO_PLAIN_MIN,
                True,
                throughput_ratio(roost, plain),
            ),
            Target(
                f"{method}, {ONE.label}: p50 / plain grpc.aio's",
                P50_TO_PLAIN_MAX,
                False,
                one.p50_us / plain_one.p50_us,
            ),
        ]
    counted, uncounted = (found[counted_name(is_counted), BUSY] for is_counted in (True, False))
    cost = cpu_ratio(counted, uncounted)
    kept.append(
        Target(f"Predict, {BUSY.label}: CPU per request, rows counted / not", CPU_OF_COUNTING_MAX, False, cost)
    )
    share = Target("employment: rows/s / bare ONNX Runtime's best", SHARE_OF_BARE_MIN, True, batched.share)
    return [*kept, share]
