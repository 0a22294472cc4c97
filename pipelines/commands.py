"""`roost train`, `roost pipeline`, `roost score`: the pipelines' commands, which `roost` finds by an entry point.

Always: light to import, since every start of `roost` does; what trains is loaded by the command that needs it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from pipelines import STAGES
from pipelines.definition import EXAMPLES
from pipelines.deploy.options import Options, Play

if TYPE_CHECKING:
    from pipelines.work import Work

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(EXAMPLES)}.", show_default=False)]
RegistryOption = Annotated[
    str, typer.Option("--registry", metavar="FOLDER|URI", help="Where versions are registered: a folder, or MLflow's.")
]
FolderOption = Annotated[Path, typer.Option(metavar="DIR", help="Where downloads, tables and stages' results lie.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another parameter than params.yaml's, as train.trees.count=150."),
]
AdminOption = Annotated[
    str, typer.Option("--admin", metavar="HOST:PORT", envvar="ROOST_ADMIN", help="Its admin port; neither: found.")
]
TargetOption = Annotated[
    str, typer.Option("--target", metavar="HOST:PORT", help="A server's port for calls, with --admin.")
]
TrafficOption = Annotated[
    str, typer.Option("--traffic", metavar="auto|always|never", help="Play recorded requests; auto: where it has none.")
]
StateOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where a server that is started keeps its journal; none: apart.")
]
DEFAULT_REGISTRY = "sqlite:///.roost/mlflow.db"
DEFAULT_FOLDER = Path(".roost")

pipeline_app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From records to a promoted model: stages that rerun only what has changed, then a canary.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add these commands to `roost`'s own. Called by `server.cli` through the entry point."""
    app.command()(train)
    app.add_typer(pipeline_app, name="pipeline")
    app.command()(score)


def train(
    name: NameArgument,
    changes: SetOption = None,
    registry: RegistryOption = DEFAULT_REGISTRY,
    folder: FolderOption = DEFAULT_FOLDER,
    rows: Annotated[
        int | None, typer.Option(min=200, help="Only so many records of each load: quick, and another model.")
    ] = None,
    through: Annotated[str, typer.Option(metavar="STAGE", help=f"The last stage: {', '.join(STAGES)}.")] = STAGES[-1],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Also leave the bundle in this new folder.")] = None,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing where the registry has a stable version.")
    ] = False,
    candidate: Annotated[
        bool, typer.Option("--candidate", help="Do not make it @stable, even where no version is.")
    ] = False,
    drill: Annotated[
        bool, typer.Option("--drill", help="Spoil it on purpose, in a way that only traffic shows (employment).")
    ] = False,
) -> None:
    """Train a model from its records: snapshot, features, training, evaluation, bundle, registry; in one process.

    The first version of a model becomes @stable. A later one has to be no worse than the stable one on the evaluation's
    rows, and is registered only: roost canary, or roost pipeline run, gives it traffic.

    \b
    roost train employment
    roost train employment --set train.trees.count=150 --set train.seed=7
    roost train flights --rows 2000 --through evaluate --registry /tmp/models
    """
    from pipelines.running import ask_registry, console, in_one_line, run_stages, work_of
    from registry_client.opening import shown_location

    if through not in STAGES:
        raise typer.BadParameter(f"expected one of {', '.join(STAGES)}, got {through!r}", param_hint="--through")
    if out is not None and STAGES.index(through) < STAGES.index("bundle"):
        raise typer.BadParameter(f"expected a stage that leaves a bundle, got --through {through}", param_hint="--out")
    with in_one_line(name):
        if if_missing and (known := _stable(registry, name)) is not None:
            console.print(f"{name}@stable is registered in {shown_location(registry)}: {known}")
            return
        given = [*(changes or ()), *([] if rows is None else [f"snapshot.rows_max={rows}"])]
        work = work_of(name, registry=registry, folder=folder, changes=given, candidate=candidate, drill=drill)
        # Not where DVC keeps its results: what it did stays as its lock says.
        if given or drill or candidate:
            work = work.elsewhere("tried")
        if out is not None:
            from registry_client.bundle import check_free

            check_free(out)
        console.print(f"{name}: {work.definition.title}")
        if through == STAGES[-1]:
            ask_registry(work)
        run_stages(work, through)
        if out is not None:
            shutil.copytree(work.of("bundle"), out, dirs_exist_ok=True)


@pipeline_app.command("run")
def run_pipeline(
    name: NameArgument,
    registry: RegistryOption = DEFAULT_REGISTRY,
    admin: AdminOption = "",
    target: TargetOption = "",
    traffic: TrafficOption = "auto",
    state: StateOption = None,
    no_deploy: Annotated[bool, typer.Option("--no-deploy", help="Register it, and give it no traffic.")] = False,
) -> None:
    """Run what has changed of a pipeline, then try the new version as a canary until it is promoted or comes home.

    Stages whose records, code and parameters (params.yaml) are as they were are left alone. A registry without a stable
    version is first given a plain one, so that there is something to compare with. Where no server answers, one is
    started for as long as the canary runs.

    \b
    roost pipeline run employment
    roost pipeline run employment --admin 127.0.0.1:9003 --target 127.0.0.1:9001 --registry http://mlflow:5000
    """
    from pipelines.reproducing import check_here, reproduce
    from pipelines.running import console, in_one_line, run_stages, work_of
    from pipelines.stable import is_first
    from registry_client.opening import open_registry, shown_location

    _check_deploying(admin, target, traffic)
    with in_one_line(name):
        check_here()
        work = work_of(name, registry=registry, folder=DEFAULT_FOLDER)
        console.print(f"{name}: {work.definition.title}")
        if work.parameters.first and is_first(open_registry(registry), name):
            changes, where = work.parameters.first, shown_location(registry)
            console.print(f"No version is stable in {where} yet: first a plain one, with {', '.join(changes)}.")
            run_stages(work_of(name, registry=registry, folder=DEFAULT_FOLDER, changes=changes).elsewhere("first"))
            console.print("Now the pipeline itself.")
        reproduce(name, registry)
        if not no_deploy:
            _deploy(work, admin, target, traffic, state)
        _say_where(work)


@pipeline_app.command("deploy")
def deploy_version(
    name: NameArgument,
    digest: Annotated[str, typer.Option(metavar="SHA256", help="What passed: the version of exactly this digest.")],
    registry: RegistryOption = DEFAULT_REGISTRY,
    admin: AdminOption = "",
    target: TargetOption = "",
    traffic: TrafficOption = "auto",
    state: StateOption = None,
    unproved: Annotated[
        bool, typer.Option("--unproved", help="Also one whose bundle has no evaluation, or one that failed a gate.")
    ] = False,
) -> None:
    """Try a version that is registered already, by its digest: nothing is built, nothing is chosen anew.

    Its bundle has to hold an evaluation of which every gate passed. An admin port listens on its own machine only:
    reach another's through a tunnel.

    \b
    ssh -N -L 9003:127.0.0.1:8003 -L 9001:127.0.0.1:8001 staging &
    roost pipeline deploy employment --digest 5c1e... --admin 127.0.0.1:9003 --target 127.0.0.1:9001 --traffic never
    """
    from pipelines.deploy.proof import check_proved
    from pipelines.running import in_one_line, work_of
    from pipelines.stable import stable_version
    from pipelines.stages.register import write_registered
    from registry_client.cache import BundleCache
    from registry_client.manifest import check_digest
    from registry_client.opening import open_registry

    _check_deploying(admin, target, traffic)
    with in_one_line(name):
        check_digest(digest)
        work = work_of(name, registry=registry, folder=DEFAULT_FOLDER)
        versions = open_registry(registry, must_exist=True).versions(name)
        version = next((one for one in versions if one.digest == digest), None)
        if version is None:
            from pipelines.refusal import Refusal

            raise Refusal(
                "--digest", expected=f"that of one of {name}'s {len(versions)} versions", got=digest,
                hint=f"roost list {name} --registry shows them.",
            )  # fmt: skip
        if not unproved:
            opened, cache = open_registry(registry), BundleCache(work.downloads / "bundles")
            beside = opened.attachments(name, version.version)
            check_proved(opened.fetch(version, cache), beside, stable_version(opened, name))
        write_registered(work, version)
        _deploy(work, admin, target, traffic, state, digest)


def _check_deploying(admin: str, target: str, traffic: str) -> None:
    """Before any work. Raises BadParameter."""
    if bool(admin) != bool(target):
        raise typer.BadParameter("expected both --admin and --target, or neither: they are one server's.")
    if traffic not in get_args(Play):
        known = ", ".join(get_args(Play))
        raise typer.BadParameter(f"expected one of {known}, got {traffic!r}", param_hint="--traffic")


def _deploy(
    work: Work, admin: str, target: str, traffic: str, state: Path | None, digest: str | None = None
) -> None:
    from pipelines.running import console, told
    from pipelines.stages import deploy
    from registry_client.opening import absolute_location

    if state is None and absolute_location(work.registry) == absolute_location(DEFAULT_REGISTRY):
        state = DEFAULT_FOLDER / "state"  # the journal that `make serve` goes on with
    options = Options(
        admin=admin or None, target=target or None, traffic=cast(Play, traffic), state=state, digest=digest
    )
    with told("deploy") as results:
        results.append(deploy.run(work, options, console))


def _say_where(work: Work) -> None:
    """Where the version comes from, and where to look at it."""
    from pipelines.running import console
    from pipelines.work import read_json
    from registry_client.cache import BundleCache
    from registry_client.lineage.as_text import brief_lines
    from registry_client.lineage.gathering import of_version
    from registry_client.opening import open_registry
    from registry_client.tracking_uri import without_passwords

    registered = read_json(work.of("register") / "registered.json")
    registry, cache = open_registry(work.registry), BundleCache(work.downloads / "bundles")
    version = registry.resolve(registered["name"], int(registered["version"]))
    console.print()
    for line in brief_lines(of_version(registry, version, registry.fetch(version, cache), cache)):
        console.print(line, markup=False)
    whole = f"roost lineage {version.name}:{version.version} --registry {without_passwords(work.registry)}"
    console.print(f"\nAll of it: {whole}, as a page with --html lineage.html", markup=False)
    console.print(f"Model card: {work.of('bundle') / 'card.html'}", markup=False)


def score(
    target: Annotated[
        str, typer.Argument(metavar="DIR|NAME[@ALIAS|:VERSION]", help="A bundle's folder, or a registry's version.")
    ],
    rows: Annotated[Path, typer.Option(metavar="FILE.parquet", help="Rows, with a column for each feature.")],
    out: Annotated[Path, typer.Option(metavar="FILE.parquet", help="Where the answers go.")],
    key: Annotated[str | None, typer.Option(metavar="COLUMN", help="A column of the rows to carry along.")] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="What runs them: this process, or a Ray cluster (RAY_ADDRESS).")
    ] = "local",
    registry: RegistryOption = DEFAULT_REGISTRY,
) -> None:
    """Score the rows of a file offline: the answers that a server would give, without one.

    \b
    roost score employment@stable --rows people.parquet --key id --out answers.parquet
    roost score ./churn.bundle --rows rows.parquet --out answers.parquet --engine ray
    """
    from pipelines.running import console, in_one_line
    from pipelines.scoring.answers import write_answers
    from pipelines.scoring.bundles import bundle_of
    from pipelines.scoring.engines import ENGINES
    from pipelines.scoring.rows import read_pieces, row_count

    if engine not in ENGINES:
        raise typer.BadParameter(f"expected one of {', '.join(ENGINES)}, got {engine!r}", param_hint="--engine")
    with in_one_line("score"):
        bundle, count = bundle_of(target, registry), row_count(rows)
        with console.status(f"{bundle.manifest.name}: {count:,} rows"):
            answered = ENGINES[engine](bundle, read_pieces(rows, bundle.manifest, key))
            written = write_answers(out, bundle, answered, key)
        console.print(f"{bundle.manifest.name}: {written:,} rows answered in {out}, digest {bundle.digest[:12]}")


def _stable(registry: str, name: str) -> str | None:
    """What is stable, in words; None where nothing is."""
    from pipelines.stable import stable_version
    from registry_client.opening import open_registry

    version = stable_version(open_registry(registry), name)
    return None if version is None else f"version {version.version}, digest {version.digest[:12]}"
