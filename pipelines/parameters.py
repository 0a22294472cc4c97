"""Parameters: what a run depends on besides records and code. Read from `params.yaml`, changed by `--set KEY=VALUE`.

One document an example, all of it typed and bounded: an unknown key is refused by name. Always: `as_json` of what a
stage depends on goes into the bundle's lineage, so that a changed parameter changes the digest and can be named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from pipelines.refusal import Refusal

PARAMS_FILE: Final = Path(__file__).parents[1] / "params.yaml"


class Section(BaseModel):
    """Frozen, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Snapshot(Section):
    """What is taken of the records."""

    rows_max: Annotated[int | None, Field(ge=200, description="So many records of each load, evenly spread")] = None
    freshness_days_max: Annotated[
        int | None, Field(ge=1, description="How old the newest record may be; none: as old as it is")
    ] = None


class Trees(Section):
    """Gradient-boosted trees (LightGBM)."""

    count: Annotated[int, Field(ge=1, le=2000, description="How many trees to grow")] = 100
    leaves: Annotated[int, Field(ge=2, le=1024, description="Leaves of a tree, at most")] = 31
    learning_rate: Annotated[float, Field(gt=0, le=1, description="How much of each tree is taken")] = 0.1
    leaf_examples_min: Annotated[int, Field(ge=1, description="Examples in a leaf, at least")] = 20


class Network(Section):
    """A small feed-forward network (scikit-learn's multi-layer perceptron)."""

    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=8, description="Units of the hidden layers")
    ] = (32,)
    epochs: Annotated[int, Field(ge=1, le=1000, description="Times that it sees all examples")] = 12
    batch_rows: Annotated[int, Field(ge=1, description="Examples of a step")] = 512
    learning_rate: Annotated[
        float, Field(gt=0, le=1, description="Size of a step at first; it shrinks evenly, epoch by epoch, to none")
    ] = 0.002
    weight_decay: Annotated[float, Field(ge=0, description="How hard weights are pulled to zero")] = 1e-4
    gap_share: Annotated[
        float, Field(ge=0, le=0.5, description="Of values left out where half of the rows are shown once more; 0: none")
    ] = 0.1


class Train(Section):
    """What learns, and how."""

    learner: Annotated[Literal["trees", "network"], Field(description="What learns")] = "trees"
    seed: Annotated[int, Field(ge=0, lt=2**31, description="Of everything that is drawn at random")] = 2015
    trees: Trees = Trees()
    network: Network = Network()


class Gates(Section):
    """What a model must reach before it is bundled. Shares are of one; errors are in the label's unit."""

    auc_min: Annotated[float | None, Field(ge=0.5, le=1, description="Area under the ROC curve, of classes")] = None
    accuracy_gain_min: Annotated[
        float | None, Field(ge=0, le=1, description="Accuracy above always saying the commonest class")
    ] = None
    mae_share_max: Annotated[
        float | None,
        Field(gt=0, le=1, description="Mean absolute error, as a share of that of always saying the median"),
    ] = None
    slice_rows_min: Annotated[int, Field(ge=10, description="Slices of fewer rows are not judged")] = 500
    slice_drop_max: Annotated[
        float, Field(gt=0, le=1, description="How far a slice may be worse than the whole, in the gate's measure")
    ] = 0.15
    slice_bias_max: Annotated[
        float, Field(gt=0, description="How far a slice's mean prediction may be off; a share of the label's spread")
    ] = 0.1
    coverage_min: Annotated[
        float, Field(ge=0, le=1, description="A slice's share of training by its share of evaluation, or the other way")
    ] = 0.1
    calibration_error_max: Annotated[
        float, Field(gt=0, description="Expected calibration error of classes; share of the label's spread otherwise")
    ] = 0.05
    missing_drop_max: Annotated[
        float, Field(gt=0, le=1, description="What a tenth of values gone missing may cost, in the gate's measure")
    ] = 0.10
    population_psi_max: Annotated[
        float, Field(gt=0, description="PSI between training and evaluation of any feature or the label")
    ] = 0.25
    period_psi_max: Annotated[
        float, Field(gt=0, description="The same between a period (a month, a year) and the next, whose season differs")
    ] = 0.25
    association_psi_max: Annotated[
        float, Field(gt=0, description="PSI of any feature or the label given another, likewise")
    ] = 0.1
    span_min: Annotated[
        float, Field(ge=0, lt=1, description="Share of a number's declared range that its values must span")
    ] = 0.1
    leak_max: Annotated[
        float, Field(gt=0.5, le=1, description="How well one feature alone may tell the label (AUC, or |rank corr.|)")
    ] = 0.95
    duplicate_share_max: Annotated[
        float, Field(ge=0, le=1, description="Share of training's rows equal to another in all columns and the label")
    ] = 0.5
    overlap_excess_max: Annotated[
        float, Field(ge=0, le=1, description="Share of evaluation with a double in training, above training's own")
    ] = 0.1
    latency_us_max: Annotated[
        float, Field(gt=0, description="One row on bare ONNX Runtime, one thread, median, in microseconds")
    ] = 1000.0
    row_ns_max: Annotated[
        float, Field(gt=0, description="A row of a batch of 256 on bare ONNX Runtime, median, in nanoseconds")
    ] = 50_000.0
    model_bytes_max: Annotated[int, Field(gt=0, description="Size of the graph")] = 50_000_000


class Comparison(Section):
    """Against the stable version: a paired bootstrap on the evaluation's rows, and the records that each has read."""

    resamples: Annotated[int, Field(ge=100, le=100_000, description="How often rows are drawn again")] = 2000
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="Of being no more than the margin worse")] = 0.95
    margin: Annotated[float, Field(ge=0, le=1, description="How much worse still passes, in the measure")] = 0.002
    slice_drop_max: Annotated[
        float, Field(gt=0, le=1, description="How far any slice may fall below the stable version's")
    ] = 0.05
    population_psi_max: Annotated[
        float, Field(gt=0, description="PSI of any feature or the label, from the stable version's training to ours")
    ] = 0.25
    corrected_loads: Annotated[
        tuple[str, ...], Field(description="Loads whose rows may be others than the stable version's run has read")
    ] = ()


class Bundling(Section):
    """What goes beside the graph."""

    tau: Annotated[float, Field(gt=0, description="PSI that counts as a shift for the baseline")] = 0.1
    explained_rows: Annotated[int, Field(ge=10, le=5000, description="Rows whose answers are explained")] = 500


class Step(Section):
    """One step of a canary's plan."""

    weight: Annotated[float, Field(gt=0, le=1, description="Share of the traffic")]
    seconds: Annotated[float, Field(ge=0, description="How long, at least")]
    requests: Annotated[int, Field(ge=0, description="Requests of the canary, at least")]


class Deploy(Section):
    """How a version is handed to a server."""

    steps: Annotated[
        tuple[Step, ...],
        Field(min_length=1, description="Of a canary, each of more weight; within 8 s of a step answers are compared"),
    ] = (
        Step(weight=0.25, seconds=5, requests=1500),
        Step(weight=0.5, seconds=10, requests=4500),
    )
    rows_per_s: Annotated[int, Field(ge=10, le=20_000, description="Recorded requests played each second")] = 1500
    timeout_s: Annotated[float, Field(gt=0, description="After which a canary that is not decided is held")] = 180.0

    @field_validator("steps")
    @classmethod
    def _weights_rise(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """No server takes another plan, which would be told only after all the work."""
        for earlier, later in pairwise(steps):
            if later.weight <= earlier.weight:
                raise PydanticCustomError(
                    "weights", "each step's weight to be more than the {earlier} of the one before",
                    {"earlier": earlier.weight},
                )  # fmt: skip
        return steps


class Parameters(Section):
    """All of an example's."""

    snapshot: Snapshot = Snapshot()
    train: Train = Train()
    gates: Gates = Gates()
    comparison: Comparison = Comparison()
    bundle: Bundling = Bundling()
    deploy: Deploy = Deploy()
    first: Annotated[
        tuple[str, ...],
        Field(description="Changes (KEY=VALUE) of the version that a registry without a stable one is given first"),
    ] = ()

    def as_lineage(self) -> dict[str, Any]:
        """Those that the bundle depends on: not what is compared and deployed, which the registry's state decides."""
        document = self.model_dump(mode="json", exclude={"comparison", "deploy", "first"})
        unused = "network" if self.train.learner == "trees" else "trees"
        del document["train"][unused]
        return document


def read_parameters(name: str, changes: Sequence[str] = (), path: Path = PARAMS_FILE) -> Parameters:
    """The document `name` of the file, with each of `changes` ("train.trees.count=150") made. Raises Refusal."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise Refusal(
            str(path), expected="parameters in YAML", got=" ".join(str(error).split())[:200],
            hint="Take it from version control.",
        ) from error  # fmt: skip
    if not isinstance(document, dict) or not isinstance(document.get(name), dict):
        raise Refusal(path.name, expected=f"a section {name}", got="none", hint="Take it from version control.")
    own: dict[str, Any] = document[name]
    for change in changes:
        _change(own, change)
    try:
        return Parameters.model_validate(own)
    except ValidationError as invalid:
        raise _refusal(invalid, own) from invalid


def _change(document: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise Refusal("--set", expected="KEY=VALUE, as train.trees.count=150", got=repr(change[:80]), hint="--help.")
    *sections, last = key.split(".")
    inner = document
    for section in sections:
        inner = inner.setdefault(section, {})
        if not isinstance(inner, dict):
            raise Refusal(f"--set {key}", expected="a known key", got="one inside a value", hint=_known([]))
    try:
        inner[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refusal(
            f"--set {key}", expected="a value in YAML", got=repr(text[:80]), hint="As 150, 0.1, trees or [32, 16]."
        ) from error


def _refusal(invalid: ValidationError, document: Mapping[str, Any]) -> Refusal:
    first = invalid.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return Refusal(".".join(place), expected="a known parameter", got="an unknown one", hint=_known(place))
    got = repr(first.get("input"))[:80]
    expected = first["msg"].removeprefix("Input should be ")
    return Refusal(".".join(place), expected=expected, got=got, hint="docs/reference/pipeline.md lists the ranges.")


def _known(place: Sequence[str]) -> str:
    names = {".".join(path): None for path, _ in fields()}
    close = get_close_matches(".".join(place), names, 1, 0.5)
    return f"Did you mean {close[0]}?" if close else "docs/reference/pipeline.md lists them."


def fields(section: type[Section] = Parameters, prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every parameter with its pydantic field, for the reference page and its test."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, entry in section.model_fields.items():
        annotation = entry.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            found += fields(annotation, (*prefix, name))
        else:
            found.append(((*prefix, name), entry))
    return found
