"""Tables of gates: what failed, by how much and where, in columns that line up."""

from __future__ import annotations

import math

from pipelines.evaluation.gates import Check
from pipelines.evaluation.table import PLACES_MAX, all_lines, failed_lines

CHECKS = (
    Check("auc", "auc_min", 0.612, "at least", 0.8, "2017", 69_635),
    Check("auc", "auc_min", 0.9, "at least", 0.8, "all rows", 208_892),
    Check("calibration", "calibration_error_max", 0.01, "at most", 0.05, "all rows", 208_892),
    Check("model_bytes", "model_bytes_max", 60_000_000, "at most", 50_000_000, "the graph", 0),
)


def test_failed_gates_are_told_with_place_rows_figure_bound_and_by_how_much() -> None:
    assert failed_lines(CHECKS) == (
        "gate         on           rows    measured               bound      off by",
        "auc          2017       69,635       0.612        at least 0.8       0.188",
        "model_bytes  the graph          60,000,000  at most 50,000,000  10,000,000",
    )


def test_all_gates_are_told_by_the_place_closest_to_failing_and_how_many_there_were() -> None:
    heading, auc, calibration, size = all_lines(CHECKS)
    assert heading.split() == ["gate", "on", "rows", "measured", "bound", "places"]
    assert auc.split() == ["auc", "2017", "69,635", "0.612", "at", "least", "0.8", "FAILED", "2"]
    assert calibration.split()[-2:] == ["passed", "1"]
    assert size.split()[-2:] == ["FAILED", "1"]


def test_a_gate_that_failed_in_many_places_is_cut_short_after_the_worst() -> None:
    many = [Check("slice", "slice_drop_max", 0.3 + place / 100, "at most", 0.2, f"line={place}", 600)
            for place in range(PLACES_MAX + 5)]  # fmt: skip
    lines = failed_lines(many)
    assert len(lines) == 1 + PLACES_MAX + 1
    assert lines[1].split()[1] == f"line={PLACES_MAX + 4}"
    assert lines[-1] == "slice  and 5 places more"


def test_a_figure_that_is_not_defined_is_told_as_such() -> None:
    (_, line) = failed_lines([Check("auc", "auc_min", math.nan, "at least", 0.8, "all rows", 10)])
    assert line.split()[-5:] == ["nan", "at", "least", "0.8", "nan"]


def test_a_long_place_is_cut_and_lines_stay_within_120_columns() -> None:
    place = "race=" + "American Indian or Alaska Native, tribe not specified" * 3
    check = Check("population_over_time", "period_psi_max", 123456.7, "at most", 0.123456, place, 208_892)
    lines = failed_lines([check])
    assert all(len(line) <= 120 for line in lines)
    assert "…" in lines[1]


def test_nothing_failed_is_a_heading_alone() -> None:
    assert len(failed_lines([CHECKS[1]])) == 1
