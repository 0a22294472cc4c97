"""Gates: whether what was measured is good enough, place by place, by the bounds of `params.yaml`. Pure.

A gate looks at many places (each slice, each column, each period); every place is a check with its own figure. Always:
all gates are looked at before anything is decided, and a figure that is not defined where one is due does not pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from pipelines.evaluation.budgets import Speed
from pipelines.evaluation.examination import Examination, SliceResult
from pipelines.evaluation.measures import Measures, RegressionMeasures, gate_measure, rounded
from pipelines.evaluation.population import Shift
from pipelines.parameters import Gates
from pipelines.refusal import Refusal

ALL_ROWS: Final = "all rows"
PLACES_MAX: Final = 50
"""Of one gate in a report: labels that were shuffled break the associations of every column in every year."""
Sense = Literal["at least", "at most"]


@dataclass(frozen=True)
class Check:
    """One gate at one place. parameter: the bound's name in `gates`, or with its own section's; None where the bound is
    no matter of choice. on: the place. rows: that the figure was measured on."""

    gate: str
    parameter: str | None
    measured: float
    sense: Sense
    bound: float
    on: str
    rows: int

    @property
    def by(self) -> float:
        """How far on the right side of the bound; below zero, or NaN, where it failed."""
        return self.measured - self.bound if self.sense == "at least" else self.bound - self.measured

    @property
    def passed(self) -> bool:
        return self.by >= 0  # NaN is not

    def as_json(self, checks: int) -> dict[str, Any]:
        """checks: places that the gate looked at."""
        figures = {"measured": rounded(self.measured), "bound": rounded(self.bound), "by": rounded(self.by)}
        parameter = self.parameter
        if parameter is not None and "." not in parameter:
            parameter = f"gates.{parameter}"
        place = {"on": self.on, "rows": self.rows, "checks": checks}
        return {"name": self.gate, "parameter": parameter, "sense": self.sense, "passed": self.passed} | figures | place


def judged(found: Examination, gates: Gates) -> tuple[Check, ...]:
    """Every check of every gate, gate by gate. Raises Refusal where a bound is for another task."""
    return (
        *_floors(found, gates),
        *_slices(found, gates),
        *_coverage(found, gates),
        *_calibration(found, gates),
        *_robustness(found, gates),
        *_population(found, gates),
        *_leakage(found, gates),
        *_duplicates(found, gates),
        Check("model_bytes", "model_bytes_max", found.model_bytes, "at most", gates.model_bytes_max, "the graph", 0),
    )


def judged_speed(speed: Speed, gates: Gates) -> tuple[Check, ...]:
    """The same of what depends on the machine."""
    batch = f"batches of {speed.batch_rows}"
    return (
        Check("latency", "latency_us_max", speed.row_us, "at most", gates.latency_us_max, "one row", 1),
        Check("row_time", "row_ns_max", speed.batch_row_ns, "at most", gates.row_ns_max, batch, speed.batch_rows),
    )


def telling(checks: Iterable[Check], places_max: int | None = None) -> Iterator[tuple[Check, int]]:
    """Of each gate the checks to tell of, and how many there were: those that failed, the worst first and no more than
    places_max, or else the one closest to it."""
    for _, group in groupby(checks, key=lambda check: check.gate):
        places = sorted(group, key=_closeness)
        failed = [check for check in places if not check.passed]
        for check in failed[:places_max] or places[:1]:
            yield check, len(places)


def as_json(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """The report's `gates`."""
    return [check.as_json(places) for check, places in telling(checks, PLACES_MAX)]


def _closeness(check: Check) -> tuple[float, str]:
    return (-math.inf if math.isnan(check.by) else check.by, check.on)


def _floors(found: Examination, gates: Gates) -> Iterator[Check]:
    """On all rows, and in every period: a year that is bad must not hide behind two that are good."""
    yield Check("finite", None, found.not_finite, "at most", 0, ALL_ROWS, found.evaluation_rows)
    large = {name: each for name, each in found.periods.items() if each.rows >= gates.slice_rows_min}
    places = {ALL_ROWS: found.whole} | large
    yield from _floor("auc", "auc_min", "at least", gates.auc_min, places)
    yield from _floor("accuracy_gain", "accuracy_gain_min", "at least", gates.accuracy_gain_min, places)
    yield from _floor("mae_share", "mae_share_max", "at most", gates.mae_share_max, places)


def _floor(
    figure: str, parameter: str, sense: Sense, bound: float | None, places: Mapping[str, Measures]
) -> Iterator[Check]:
    if bound is None:
        return
    for on, measures in places.items():
        if not hasattr(measures, figure):
            raise Refusal(
                f"gates.{parameter}", expected="nothing, for a model of this task", got=f"{bound:g}",
                hint="Take it out of params.yaml.",
            )  # fmt: skip
        yield Check(figure, parameter, getattr(measures, figure), sense, bound, on, measures.rows)


def _slices(found: Examination, gates: Gates) -> Iterator[Check]:
    """A slice's measure against the whole's; slices of one class have none. Then its bias."""
    whole = gate_measure(found.whole)
    large = [(one.slice.name, one.measures) for one in found.slices if is_large(one, gates)]
    judged = [(name, measures) for name, measures in large if measures and not math.isnan(gate_measure(measures))]
    for name, measures in judged:
        drop = whole - gate_measure(measures)
        yield Check("slice", "slice_drop_max", drop, "at most", gates.slice_drop_max, name, measures.rows)
    for name, measures in ((name, measures) for name, measures in large if measures):
        bias = abs(measures.bias) / _unit(found.whole)
        yield Check("slice_bias", "slice_bias_max", bias, "at most", gates.slice_bias_max, name, measures.rows)


def is_large(one: SliceResult, gates: Gates) -> bool:
    """Whether a slice has rows enough for its measures to be judged."""
    return one.measures is not None and one.measures.rows >= gates.slice_rows_min


def _unit(whole: Measures) -> float:
    """What a bias is a share of: one, of probabilities; the labels' spread, of quantities."""
    return whole.spread if isinstance(whole, RegressionMeasures) else 1.0


def _coverage(found: Examination, gates: Gates) -> Iterator[Check]:
    for one in (result.slice for result in found.slices):
        rows = int(one.rows.sum())
        if not one.of_time and max(rows, one.training_rows) >= gates.slice_rows_min:
            yield Check("coverage", "coverage_min", one.coverage, "at least", gates.coverage_min, one.name, rows)


def _calibration(found: Examination, gates: Gates) -> Iterator[Check]:
    error, bound = found.calibration.error, gates.calibration_error_max
    yield Check("calibration", "calibration_error_max", error, "at most", bound, ALL_ROWS, found.whole.rows)


def _robustness(found: Examination, gates: Gates) -> Iterator[Check]:
    missing = found.missing
    on = f"{missing.share:.0%} of values missing"
    yield Check("missing", "missing_drop_max", missing.drop, "at most", gates.missing_drop_max, on, missing.rows)
    for one in found.extremes:
        yield Check("extremes", None, one.not_finite, "at most", 0, one.case, one.rows)


def _population(found: Examination, gates: Gates) -> Iterator[Check]:
    population = found.population
    for shift in population.features:
        yield _shifted("population", "population_psi_max", shift, gates.population_psi_max)
    for shift in population.over_time:
        yield _shifted("population_over_time", "period_psi_max", shift, gates.period_psi_max)
    for shift in population.pairs:
        yield _shifted("association", "association_psi_max", shift, gates.association_psi_max)
    for span in population.spans:
        on = f"{span.name}, {span.of}"
        yield Check("span", "span_min", span.share, "at least", gates.span_min, on, span.rows)


def _shifted(gate: str, parameter: str, shift: Shift, bound: float) -> Check:
    on = f"{' and '.join(shift.names)}, {shift.source} to {shift.target}"
    return Check(gate, parameter, shift.beyond_chance, "at most", bound, on, shift.rows)


def _leakage(found: Examination, gates: Gates) -> Iterator[Check]:
    for one in found.strengths:
        yield Check("leakage", "leak_max", one.strength, "at most", gates.leak_max, one.name, found.training_rows)


def _duplicates(found: Examination, gates: Gates) -> Iterator[Check]:
    """Rows of few codes have twins by nature; a row of evaluation has one in training as often as training's have."""
    shares, bound = found.duplicates, gates.duplicate_share_max
    yield Check("duplicates", "duplicate_share_max", shares.training, "at most", bound, "training", found.training_rows)
    for name, share in shares.periods.items():
        measures = found.periods.get(name)
        if measures and measures.rows >= gates.slice_rows_min:
            yield Check("duplicates", "duplicate_share_max", share, "at most", bound, name, measures.rows)
    excess, most = shares.of_training - shares.training, gates.overlap_excess_max
    on = "evaluation, in training"
    yield Check("overlap", "overlap_excess_max", excess, "at most", most, on, found.evaluation_rows)
