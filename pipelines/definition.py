"""What an example says of itself, once: its tables, its records, its features, what it predicts. Stages do the rest.

`definition("employment")` finds `pipelines/employment/definition.py`, which has one constant, `DEFINITION`. A new
example is a folder with such a file. Always: nothing here reads a file or knows of a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipelines.refusal import Refusal

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.examples import Split
    from pipelines.features.declaration import FeatureSet
    from pipelines.lake.constraints import TableRules

EXAMPLES: Final = ("employment", "flights")


@dataclass(frozen=True)
class Load:
    """Records that arrived together: they become one version of the table `table`, or stop the pipeline.

    name: of its kind in the table, such as "2015"; a load that the table already has is not added again.
    """

    table: str
    name: str
    records: pa.Table


@dataclass(frozen=True)
class Classification:
    """labels: by class, from 0, what it stands for. positive: the class whose probability is judged."""

    labels: tuple[str, ...]
    positive: int = 1


@dataclass(frozen=True)
class Regression:
    """unit: of what is predicted, such as "minutes"."""

    unit: str


@dataclass(frozen=True)
class Prose:
    """What a model card says that no run can know: written by whoever answers for the model, one sentence an entry."""

    intended_use: tuple[str, ...]
    not_intended: tuple[str, ...]
    limits: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Definition:
    """name: the model's. label: what its labels are called. slices: by name of a slice column what it means.

    fetch: (folder for downloads, rows_max of each load or None) -> loads in their order; downloads only what is pinned.
    split: the tables of one snapshot, by name, as training's and evaluation's raw examples, in an order that depends on
    the rows alone.
    """

    name: str
    title: str
    task: Classification | Regression
    label: str
    tables: tuple[TableRules, ...]
    features: FeatureSet
    fetch: Callable[[Path, int | None], Iterator[Load]]
    split: Callable[[Mapping[str, pa.Table]], Split]
    slices: Mapping[str, str]
    prose: Prose
    meaning: Callable[[], Mapping[str, object]] = field(default=dict)

    @property
    def folder(self) -> Path:
        """Where its own code lies."""
        return Path(__file__).parent / self.name


def definition(name: str) -> Definition:
    """The example of that name. Raises Refusal."""
    if name not in EXAMPLES:
        raise Refusal(
            "NAME", expected=f"one of {', '.join(EXAMPLES)}", got=repr(name[:40]),
            hint="A new one is a folder in pipelines/ with a definition.py.",
        )  # fmt: skip
    found: Definition = import_module(f"pipelines.{name}.definition").DEFINITION
    return found
