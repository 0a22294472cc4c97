"""Rows for the load profile `drift`: as a model's baseline says that they are, or real ones, and the same ones shifted.

Pure, but for the file of real rows; no locust in here. Always: made-up rows fall into the baseline's bins as the
reference's rows did, each feature by itself. How features depend on each other no baseline knows, so that predictions
on made-up rows need not be distributed as the reference's were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime as ort

from loadtests.claimed_versions import ClaimedCase
from loadtests.verified_pool import case_of
from registry_client.baseline.document import Baseline, Feature, Kind
from registry_client.baseline.mapping import meaning_columns
from registry_client.baseline.rows import ModelRows, Source
from registry_client.tensors import Datatype, Signature, TensorSpec
from registry_client.verify import VerifiedBundle

Arrays = dict[str, np.ndarray]
FLOATS = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})
MIDDLE = (0.1587, 0.8413)  # of a normal distribution: a standard deviation to each side


def made_up_rows(signature: Signature, baseline: Baseline, rows: int, random: np.random.Generator) -> Arrays:
    """Inputs by name, [rows, ...]. Raises ValueError, naming the input, where the baseline lacks a column of it."""
    return {spec.name: _made_up(spec, baseline, rows, random) for spec in signature.inputs}


def real_rows(bundle: VerifiedBundle, path: Path) -> Arrays:
    """All rows of a Parquet file in its order, as the bundle's model takes them.

    Raises ValueError where the file lacks an input, and BadDocument where it can't be read.
    """
    named, _ = meaning_columns(bundle.manifest.meaning)
    rows = ModelRows(bundle.manifest.signature, Source(path, meaning=named))
    if rows.unfed:
        raise ValueError(f"{path}: expected columns for input {', '.join(rows.unfed)}, got none.")
    batches = [batch.inputs for batch in rows.batches()]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def shifted(signature: Signature, baseline: Baseline, inputs: Arrays, feature: str, deviations: float) -> Arrays:
    """The same rows, one feature moved by so many of the reference's standard deviations.

    Raises ValueError where there is no such number among the inputs: a category has no distance.
    """
    numbers = {one.name: one for one in baseline.inputs if one.kind is Kind.NUMBER}
    if feature not in numbers:
        known = ", ".join(numbers) or "none"
        raise ValueError(f"--shift-feature: expected an input that is a number ({known[:300]}), got {feature!r}.")
    moved = numbers[feature]
    spec = next(spec for spec in signature.inputs if spec.name == moved.tensor)
    columns = inputs[spec.name].reshape(len(inputs[spec.name]), -1).astype(np.float64)
    columns[:, moved.column] += deviations * deviation_of(moved)
    values = columns.reshape(inputs[spec.name].shape)
    return {**inputs, spec.name: _typed(spec, values)}


def deviation_of(feature: Feature) -> float:
    """The reference's standard deviation of a number, as its bins have it: half of the range of its middle 68 %.

    Not the second moment: the outermost bins reach to the least and the greatest value, and would add a third to it.
    """
    inner = np.array(feature.counts[1 : len(feature.points)], dtype=np.float64)
    shares = np.concatenate([[0.0], np.cumsum(inner) / inner.sum()])
    low, high = np.interp(MIDDLE, shares, feature.points)
    return float(high - low) / 2


def cases_of(
    model: str, versions: Mapping[str, bytes], inputs: Arrays, sizes: Sequence[int]
) -> list[ClaimedCase]:
    """Calls of so many rows each, one after the other, until the rows are used up; with every version's answer."""
    sessions = {version: _session(content) for version, content in versions.items()}
    ends = np.minimum(np.cumsum(sizes), len(next(iter(inputs.values()))))
    cases = []
    for start, end in pairwise([0, *np.unique(ends).tolist()]):
        feed = {name: array[start:end] for name, array in inputs.items()}
        answers = {version: case_of(model, session, feed) for version, session in sessions.items()}
        cases.append(ClaimedCase(answers))
    return cases


def _made_up(spec: TensorSpec, baseline: Baseline, rows: int, random: np.random.Generator) -> np.ndarray:
    features = sorted((one for one in baseline.inputs if one.tensor == spec.name), key=lambda one: one.column)
    if not spec.has_free_rows or [one.column for one in features] != list(range(spec.row_elements)):
        raise ValueError(
            f"input {spec.name!r}: expected a feature of the baseline for each column, got {len(features)}. Replay "
            "rows of your own: --rows FILE.parquet"
        )
    columns = np.stack([_column(one, rows, random, exact=spec.datatype in FLOATS) for one in features], axis=1)
    return _typed(spec, columns.reshape(rows, *spec.shape[1:]))


def _column(feature: Feature, rows: int, random: np.random.Generator, *, exact: bool) -> np.ndarray:
    """float64[rows]. exact: any number between two edges; else whole ones, which edges of whole numbers are, too."""
    counts = np.array(feature.counts, dtype=np.float64)
    bins = random.choice(len(counts), size=rows, p=counts / counts.sum())
    points = np.array(feature.points)
    if feature.kind is Kind.CATEGORY:
        values = np.array([*points, points[-1] + 1.0, np.nan, np.inf])[bins]
    else:
        low = np.array([points[0] - 1.0, *points[:-1], points[-1], np.nan, np.inf])
        high = np.array([points[0] - 1.0, *points[1:], points[-1] + 1.0, np.nan, np.inf])
        # An edge belongs to the bin below it: above the lower one, up to the upper one.
        with np.errstate(invalid="ignore"):  # infinity less infinity is set right below
            values = high[bins] - random.random(rows) * (high[bins] - low[bins])
        values[np.isinf(high[bins])] = np.inf
    return values if exact else np.ceil(values)


def _typed(spec: TensorSpec, values: np.ndarray) -> np.ndarray:
    if spec.datatype not in FLOATS:
        values = np.nan_to_num(np.rint(values), posinf=0.0)
    return values.astype(spec.datatype.numpy_dtype)


def _session(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(content, options)
