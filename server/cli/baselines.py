"""`roost baseline show`: a bundle's baseline, drawn or as JSON.

Used by `application.py`. Always: what it shows is read from a bundle whose checksums are right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_client.errors import BadDocument
from server.cli.bundles import JsonOption, fetch, refusals_in_one_line

if TYPE_CHECKING:
    from registry_client.baseline.document import Baseline, Feature
    from registry_client.verify import VerifiedBundle

app = typer.Typer(help="What a model learnt from, by bin.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def baseline() -> None:
    """What a model learnt from, by bin."""


@app.command("show")
def show(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|NAME[@ALIAS|:VERSION]",
            help="A folder, or with --registry a model; NAME alone is @stable, else the newest.",
        ),
    ],
    registry: Annotated[
        str | None, typer.Option(metavar="FOLDER|URI", help="A folder registry, or an MLflow tracking URI.")
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this feature; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the baseline of a bundle: how the rows that the model learnt from fall into each feature's bins.

    \b
    roost baseline show churn.bundle
    roost baseline show churn@stable --registry /srv/models --feature age --feature plan
    """
    with refusals_in_one_line():
        from registry_client.baseline.mapping import meaning_codes

        name, bundle, found = read_with_baseline(target, registry, "baseline show")
        digest, codes = bundle.digest, meaning_codes(bundle.manifest.meaning)
        chosen = _chosen(found, feature)
        if as_json:
            print(json.dumps(_document(name, digest, found, chosen)))
            return
        from rich.console import Console

        from server.cli.baseline_drawing import drawn, heading

        console = Console(highlight=False)
        console.print(heading(name, digest, found))
        for title, features in chosen:
            if features:
                console.print(f"\n[bold]{title}[/]", markup=True)
            for one in features:
                console.print()
                console.print(drawn(one, codes.get(one.name, {}), console.width))


def read_with_baseline(target: str, registry: str | None, command: str) -> tuple[str, VerifiedBundle, Baseline]:
    """The version's name, its bundle and its baseline. target: a folder, or a model of the registry.

    Raises ArtifactError, whose hint names the command.
    """
    from registry_client.verify import read_verified

    if registry is None:
        if not Path(target).exists():
            raise BadDocument(
                target, expected="a bundle's folder", got="nothing there",
                hint=f"A model of a registry: roost {command} {target} --registry FOLDER|URI.",
            )  # fmt: skip
        found = read_verified(Path(target))
        name = found.manifest.name
    else:
        version, found = fetch(registry, target)
        name = f"{version.name}:{version.version}"
    baseline = found.baseline()
    if baseline is None:
        raise BadDocument(
            name, expected="a bundle with a baseline", got="one without",
            hint="Bundle the model anew: roost bundle --reference FILE.parquet.",
        )  # fmt: skip
    return name, found, baseline


def _chosen(found: Baseline, names: list[str] | None) -> list[tuple[str, tuple[Feature, ...]]]:
    groups = [("Inputs", found.inputs), ("Predictions", found.predictions), ("Labels", found.labels)]
    if not names:
        return groups
    known = [feature.name for _, features in groups for feature in features]
    if unknown := [name for name in names if name not in known]:
        raise BadDocument(
            "--feature", expected=f"one of {', '.join(known)[:300]}", got=repr(unknown[0][:80]), hint="Check the name."
        )
    return [(title, tuple(one for one in features if one.name in names)) for title, features in groups]


def _document(
    name: str, digest: str, found: Baseline, chosen: list[tuple[str, tuple[Feature, ...]]]
) -> dict[str, Any]:
    return {
        "name": name,
        "digest": digest,
        "rows": found.rows,
        "rank_error": found.rank_error,
        **{title.lower(): [_feature_document(one) for one in features] for title, features in chosen},
    }


def _feature_document(feature: Feature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "tensor": feature.tensor,
        "column": feature.column,
        "kind": feature.kind.value,
        "importance": feature.importance,
        "by_hour": feature.by_hour is not None,
        "bins": [{"bin": each, "count": count} for each, count in zip(feature.bins, feature.counts, strict=True)],
    }
