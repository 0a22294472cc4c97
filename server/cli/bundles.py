"""`roost bundle`, `verify`, `push`, `adopt`, `pull`, `list`: a model's way from an ONNX file to a registry and back.

Used by `application.py`, which hands over its typer app. Always: a refusal is one line on standard error and exit
code 1; standard output carries results only, and with --json exactly one JSON document.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry_client.errors import ArtifactError, BadDocument
from server.cli.given_files import JSON_FILE_BYTES_MAX, read_file, read_json_object
from server.cli.references import (
    BINS,
    TAU,
    BinsOption,
    CategoriesOption,
    ColumnsOption,
    ImportancesOption,
    LabelOption,
    ReferenceOption,
    ReferenceOptions,
    TauOption,
    TimeOption,
    build,
)
from server.cli.signers import SignatureOption, SignerOption, read_asked, who_signed

if TYPE_CHECKING:
    # Imported by the commands that need them: onnx and ONNX Runtime would slow every other start of `roost`.
    from registry_client.manifest import Lineage
    from registry_client.registry import Registry, Version
    from registry_client.verify import VerifiedBundle

DIGEST_SHOWN = 12

RegistryOption = Annotated[
    str, typer.Option("--registry", metavar="FOLDER|URI", help="A folder registry, or an MLflow tracking URI.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


def register(app: typer.Typer) -> None:
    """Add this file's commands to `app`."""
    app.command("bundle")(bundle)
    app.command("verify")(verify)
    app.command("push")(push)
    app.command("pull")(pull)
    app.command("list")(list_models)
    app.command("adopt")(adopt)


def bundle(
    onnx_file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="The model.", show_default=False)],
    name: Annotated[str, typer.Option(help="What the model is called, in routes and in the registry.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle's folder; must not exist, or be empty.")],
    golden: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Golden examples; those without outputs are completed by a run."),
    ] = None,
    golden_rows: Annotated[int, typer.Option(help="Rows of seeded random inputs, where no --golden is given.")] = 4,
    rtol: Annotated[float, typer.Option(help="Relative tolerance of golden outputs.")] = 1e-5,
    atol: Annotated[float, typer.Option(help="Absolute tolerance of golden outputs.")] = 1e-6,
    lineage: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help='{"data": {..}, "code": {..}, "parameters": {..}}')
    ] = None,
    meaning: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="JSON for readers: columns, codes, units.")
    ] = None,
    reference: ReferenceOption = None,
    columns: ColumnsOption = None,
    time: TimeOption = None,
    label: LabelOption = None,
    categories: CategoriesOption = None,
    importances: ImportancesOption = None,
    bins: BinsOption = BINS,
    tau: TauOption = TAU,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of an ONNX file: checksums, signature, golden examples, lineage, and a baseline to see drift by.

    \b
    roost bundle model.onnx --name churn --out churn.bundle
    roost bundle model.onnx --name churn --out churn.bundle --golden examples.json --lineage lineage.json
    roost bundle model.onnx --name churn --out churn.bundle --reference rows.parquet --time seen_at --label churned
    """
    with refusals_in_one_line():
        from registry_client.bundle import check_free, write_bundle
        from registry_client.golden import check_golden, read_golden
        from registry_client.manifest import Tolerance
        from registry_client.onnx_model import MODEL_BYTES_MAX, read_onnx
        from registry_client.reference_run import ReferenceRun, complete_golden, record_golden

        check_free(out)  # before a pass over the reference, which may take long
        model = read_onnx(read_file(onnx_file, MODEL_BYTES_MAX))
        for note in model.notes:
            print(f"roost: {note}", file=sys.stderr)
        if golden is not None:
            examples = complete_golden(model, read_golden(read_file(golden, JSON_FILE_BYTES_MAX)))
        else:
            examples = record_golden(model, rows=golden_rows)
        # Before it is written: examples that came from elsewhere may not be what this model answers.
        check_golden(examples, ReferenceRun(model.model_bytes, model.signature), rtol, atol)
        read_meaning = {} if meaning is None else read_json_object(meaning)
        read_origin = None if lineage is None else _read_lineage(lineage)
        built = build(
            model,
            read_meaning,
            ReferenceOptions(reference, columns, time, label, categories, importances, bins, tau),
        )
        for note in () if built is None else built.notes:
            print(f"roost: {note}", file=sys.stderr)
        manifest = write_bundle(
            out,
            name=name,
            model_bytes=model.model_bytes,
            golden=examples,
            lineage=read_origin,
            meaning=read_meaning,
            tolerance=Tolerance(rtol=rtol, atol=atol),
            class_labels=model.class_labels,
            baseline=None if built is None else built.baseline,
        )
        say(as_json, f"{name}: bundled in {out}, digest {manifest.digest}", {"name": name, "digest": manifest.digest})


def verify(
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
    digest: Annotated[str | None, typer.Option(help="What the bundle's digest must be.")] = None,
    signer: SignerOption = None,
    signature: SignatureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle: every checksum, the tensors, the golden examples with ONNX Runtime and, on demand, who signed it.

    \b
    roost verify churn.bundle
    roost verify churn.bundle --digest 5c1e...
    roost verify churn@stable --registry /srv/models
    roost verify churn@stable --registry /srv/models --signer release=release-public.pem
    """
    with refusals_in_one_line():
        from registry_client.reference_run import ReferenceRun
        from registry_client.verify import check_contents, read_verified

        signers = read_asked(signer, signature)  # before a registry is asked for anything
        version = None
        if registry is None:
            check_is_there(target, "roost verify")
            found = read_verified(Path(target), digest)
        else:
            version, found = fetch(registry, target)
            if digest not in (None, version.digest):
                raise BadDocument(
                    target, expected=f"digest {digest}", got=f"digest {version.digest}", hint="Check both."
                )
        place = Path(target) if registry is None or version is None else (registry, version)
        signed = who_signed(found, signers, place, signature)  # before anything of it is run
        check_contents(found, ReferenceRun(found.model_bytes, found.manifest.signature))
        examples, files = len(found.golden().examples), len(found.files)
        name = found.manifest.name if version is None else f"{version.name}:{version.version}"
        resolved = {} if version is None else {"version": version.version}
        by = f", signed by {', '.join(signed)}" if signed else ""
        say(
            as_json,
            f"{name}: sound (files: {files}, golden examples: {examples}), digest {found.digest}{by}",
            {
                "name": found.manifest.name,
                **resolved,
                "digest": found.digest,
                "files": sorted(found.files),
                "examples": examples,
                **({"signed_by": signed} if signers else {}),
            },
        )


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle.")],
    registry: RegistryOption,
    alias: Annotated[list[str] | None, typer.Option(help="Point this alias at the pushed version; repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a bundle into a registry as the next version of its model. The same bundle again keeps its version.

    It is checked first as `roost verify` does.

    \b
    roost push churn.bundle --registry /srv/models --alias canary
    """
    with refusals_in_one_line():
        from registry_client.reference_run import ReferenceRun
        from registry_client.verify import check_contents, read_verified

        # Before an alias moves: servers follow it, and would find out only when they start.
        found = read_verified(folder)
        check_contents(found, ReferenceRun(found.model_bytes, found.manifest.signature))
        opened = open_given_registry(registry, must_exist=False)
        version = opened.push(folder, aliases=alias or (), digest=found.digest)
        aliases = "".join(f", @{name}" for name in version.aliases)
        say(as_json, f"{version.name}:{version.version}{aliases}, digest {version.digest}", _version_document(version))


def adopt(
    source: Annotated[
        str,
        typer.Argument(metavar="models:/NAME/VERSION", help="What was logged with mlflow.onnx.", show_default=False),
    ],
    registry: Annotated[str, typer.Option("--registry", metavar="URI", help="An MLflow tracking URI.")],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="The model it becomes a version of, if another.")
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Golden examples; without them, seeded random inputs are run."),
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="Point this alias at the new version; repeatable.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a verified bundle of an ONNX model that somebody else logged in MLflow, and a new version of it.

    The ONNX file is taken, with its weights, and nothing else: no code that was logged with it is ever run.

    \b
    roost adopt models:/churn/3 --registry http://mlflow:5000
    roost adopt "models:/Churn model/3" --as churn --registry http://mlflow:5000 --alias stable
    """
    with refusals_in_one_line():
        from registry_client.adopting import adopt as adopt_version
        from registry_client.golden import read_golden

        examples = None if golden is None else read_golden(read_file(golden, JSON_FILE_BYTES_MAX))
        version, notes = adopt_version(registry, source, name=name, golden=examples, aliases=alias or ())
        for note in notes:
            print(f"roost: {note}", file=sys.stderr)
        aliases = "".join(f", @{pointing}" for pointing in version.aliases)
        text = f"{source} is {version.name}:{version.version}{aliases}, digest {version.digest}"
        say(as_json, text, _version_document(version))


def pull(
    target: Annotated[
        str,
        typer.Argument(metavar="NAME[@ALIAS|:VERSION]", help="What to fetch; NAME alone is @stable, else the newest."),
    ],
    registry: RegistryOption,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle's folder; must not exist, or be empty.")],
    as_json: JsonOption = False,
) -> None:
    """Fetch a bundle from a registry, verified against the digest that the registry records.

    \b
    roost pull churn@stable --registry /srv/models --out churn.bundle
    """
    with refusals_in_one_line():
        from registry_client.bundle import unpack_bundle

        version, found = fetch(registry, target)
        unpack_bundle(out, found)
        say(
            as_json,
            f"{version.name}:{version.version} is in {out}, digest {version.digest}",
            _version_document(version),
        )


def list_models(
    registry: RegistryOption,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One model only.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a registry holds: versions, digests, aliases, tags.

    \b
    roost list --registry /srv/models
    roost list churn --registry /srv/models --json
    """
    with refusals_in_one_line():
        opened = open_given_registry(registry)
        names = opened.names() if name is None else (name,)
        versions = [version for each in names for version in opened.versions(each)]
        if as_json:
            print(json.dumps([_version_document(version) for version in versions]))
        elif versions:
            _print_table(versions)
        else:
            print(f"roost: {registry} holds no model yet: roost push DIR --registry {registry}.", file=sys.stderr)


@contextmanager
def refusals_in_one_line() -> Iterator[None]:
    try:
        yield
    except ArtifactError as refusal:
        print(f"roost: {refusal}", file=sys.stderr)
        raise typer.Exit(1) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"roost: {error.filename}: {error.strerror}.", file=sys.stderr)
        raise typer.Exit(1) from None


def open_given_registry(location: str, *, must_exist: bool = True) -> Registry:
    from registry_client.mlflow_environment import import_client_alone
    from registry_client.opening import open_registry
    from registry_client.tracking_uri import is_tracking_uri

    if must_exist and not is_tracking_uri(location) and not Path(location).is_dir():
        raise BadDocument(
            "--registry", expected="a registry's folder", got=f"{location}, which is none", hint="roost push makes one."
        )
    import_client_alone(location)
    return open_registry(location, must_exist=must_exist)


def check_is_there(target: str, command: str) -> None:
    """The folder of a bundle: who forgot --registry is told so. Raises BadDocument."""
    if not Path(target).exists():
        raise BadDocument(
            target, expected="a bundle's folder", got="nothing there",
            hint=f"A model of a registry: {command} {target} --registry FOLDER|URI. "
            "A folder: roost bundle makes one, roost pull fetches one.",
        )  # fmt: skip


def fetch(registry: str, target: str) -> tuple[Version, VerifiedBundle]:
    """The bundle as the registry has it now: through a cache of its own, so that no older copy hides damage."""
    from registry_client.cache import BundleCache
    from registry_client.registry import parse_target

    opened = open_given_registry(registry)
    version = opened.resolve(*parse_target(target))
    with tempfile.TemporaryDirectory(prefix="roost-") as folder:
        return version, opened.fetch(version, BundleCache(Path(folder)))


def _read_lineage(path: Path) -> Lineage:
    from registry_client.manifest import read_lineage

    return read_lineage(read_json_object(path), str(path))


def say(as_json: bool, text: str, document: Mapping[str, Any]) -> None:
    """A command's one result."""
    print(json.dumps(document) if as_json else text)


def _version_document(version: Version) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        "aliases": list(version.aliases),
        "tags": dict(version.tags),
    }


def _print_table(versions: list[Version]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("model", "version", "digest", "aliases", "tags")
    for version in versions:
        aliases = " ".join(f"@{alias}" for alias in version.aliases)
        tags = " ".join(f"{key}={value}" for key, value in sorted(version.tags.items()))
        # Text: what a registry holds is no markup, whatever brackets are in it.
        cells = (version.name, str(version.version), version.digest[:DIGEST_SHOWN], aliases, tags)
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)
