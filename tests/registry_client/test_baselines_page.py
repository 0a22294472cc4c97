"""docs/concepts/baselines.md and the bundle's page say what the code does: options, limits, numbers, keys."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import typer.main

from registry_client.baseline import builder, columns, document, points
from registry_client.baseline.builder import Choices
from registry_client.baseline.mapping import read_mapping
from registry_client.baseline.sketches import Sketch
from server.cli import references
from server.cli.application import app

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "concepts" / "baselines.md").read_text()
REFERENCE = (DOCS / "reference" / "bundle.md").read_text()


def test_every_option_of_a_reference_is_on_the_page():
    told = set(re.findall(r"^\| `(--[a-z]+)", PAGE, re.MULTILINE))
    group = typer.main.get_command(app)
    flags = {flag for one in group.commands["bundle"].params for flag in one.opts}
    assert told <= flags
    assert told == {f"--{name}" for name in references.ReferenceOptions.__dataclass_fields__}


def test_the_page_s_numbers_are_the_code_s():
    assert f"at most {builder.DISTINCT_MAX:,} distinct values" in PAGE
    assert f"share {builder.DISTINCT_TOTAL:,}, but never fewer than {builder.DISTINCT_MIN:,}" in PAGE
    assert f"than {builder.DISTINCT_TOTAL // builder.DISTINCT_MAX} columns" in PAGE
    assert f"from {builder.DISTINCT_AN_HOUR_MAX} distinct values an hour on" in PAGE
    assert f"at least {points.LEVEL_ROWS_MIN} rows have, at most {document.POINTS_MAX}" in PAGE
    assert f"at most {columns.PREDICTIONS_MAX} features" in PAGE
    assert f"2 to {document.POINTS_MAX - 1}; {references.BINS} unless" in PAGE
    assert (references.BINS, references.TAU) == (Choices().bins, Choices().tau)
    assert f"{references.TAU} unless said otherwise" in PAGE
    bins = references.BINS + 4
    assert f"{builder.ROWS_PER_BIN * (bins - 1) / references.TAU:,.0f} for ten bins" in PAGE
    codes = document.bin_count(document.Kind.CATEGORY, document.POINTS_MAX)
    assert f"{builder.ROWS_PER_BIN * (codes - 1) / references.TAU:,.0f} for a category of 60 codes" in PAGE


def test_the_errors_that_the_page_tells_are_the_sketches_own():
    for size, told in ((builder.SKETCH_SIZE, "0.05 %"), (builder.SKETCH_SIZE_AN_HOUR, "1.3 %")):
        sketch = Sketch(size)
        sketch.add_levels(np.arange(100_000.0), np.ones(100_000, dtype=np.int64))
        assert told in PAGE
        assert f"{sketch.rank_error * 100:.2g} %" == told


def test_the_page_s_mapping_file_is_read():
    (block,) = re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)
    assert read_mapping(json.loads(block), "page") == {"x": ("height", "plan", "paid"), "age": ("how old",)}


def test_every_key_of_a_baseline_is_on_the_bundle_s_page():
    section = REFERENCE.split("## baseline.json\n")[1].split("\n## ")[0]
    told = {key for cell in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", cell)}
    feature = document.Feature("f", "x", 0, document.Kind.CATEGORY, (1.0,), (1, 0, 0, 0))
    found = json.loads(document.Baseline(1, 0.0, (feature,), ()).to_bytes())
    assert told == set(found) | set(found["inputs"][0])
