"""Commands that change something: each is one call of the admin service, with who asks, why and an id."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli.operators.options import Change, changes
from server.cli.operators.shares import BadShare, share_ppm
from server.lifecycle.explain import share
from server.lifecycle.plan import PPM, BadPlan, read_plan

LOADING_S = 600.0  # a version may have to be fetched, tried and loaded first
PLAN_BYTES_MAX = 16_384


def _share(text: str) -> int:
    try:
        return share_ppm(text)
    except BadShare as bad:
        raise typer.BadParameter(str(bad)) from None


ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="The model's name.")]
EveryModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", show_default=False, help="The model's name; none: all.")
]
DigestArgument = Annotated[
    str, typer.Argument(metavar="DIGEST", show_default=False, help="Its sha256, or the first 8 digits or more.")
]
OfModelOption = Annotated[
    str, typer.Option("--model", metavar="MODEL", show_default=False, help="This model's only; else every model's.")
]
NoWaitOption = Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is loaded.")]


@changes(LOADING_S)
def canary(
    change: Change,
    model: ModelArgument,
    version: Annotated[str, typer.Option("--version", metavar="V", help="A version's number, or @ and an alias.")],
    weight: Annotated[
        int | None,
        typer.Option("--weight", metavar="SHARE", parser=_share, help="One share, until an operator says more: 5%."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="Steps, as JSON or TOML. Neither: the default plan.")
    ] = None,
    no_wait: NoWaitOption = False,
) -> None:
    """Try a version, load it beside the stable one, and give it its first share of the traffic.

    It goes home by itself as soon as it is found to be worse than the stable version beside it.

    \b
    roost canary churn --version 4 --weight 5% --reason "retrained on November"
    roost canary churn --version @candidate --plan plan.toml
    """
    if weight is not None and plan is not None:
        raise typer.BadParameter("expected --weight or --plan, got both. A plan has its weights.", param_hint="--plan")
    plan_json = "" if plan is None else _plan_json(plan)
    _done(change, "DeployCanary", model=model, version=version, weight_ppm=weight, plan_json=plan_json, no_wait=no_wait)
    _say_where_nothing_is_compared(weight)


@changes()
def weights(
    change: Change,
    model: ModelArgument,
    canary: Annotated[
        int, typer.Option("--canary", metavar="SHARE", parser=_share, help="The canary's share, as 10% or 0.1.")
    ],
) -> None:
    """Set the canary's share of the traffic; the stable version has the rest. Its plan waits from then on.

    \b
    roost weights churn --canary 10%
    """
    _done(change, "SetTrafficWeights", model=model, canary_ppm=canary)
    _say_where_nothing_is_compared(canary)


@changes(LOADING_S)
def shadow(
    change: Change,
    model: ModelArgument,
    version: Annotated[
        str, typer.Option("--version", metavar="V", show_default=False, help="A version's number, or @ and an alias.")
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="End it.")] = False,
    no_wait: NoWaitOption = False,
) -> None:
    """Run a version on the same rows unseen: replies never come from it, and never wait for it.

    \b
    roost shadow churn --version 4
    roost shadow churn --off
    """
    if bool(version) is off:
        got = "both" if off else "none"
        raise typer.BadParameter(f"expected --version or --off, got {got}.", param_hint="--version")
    _done(change, "SetShadow", model=model, version=version, no_wait=no_wait)


@changes()
def promote(change: Change, model: ModelArgument) -> None:
    """Make the canary stable. The stable version before it stays loaded as the last safe one.

    \b
    roost promote churn --reason "a week at half of the traffic"
    """
    _done(change, "Promote", model=model)


@changes()
def rollback(
    change: Change,
    model: ModelArgument,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Also never serve again what is taken back.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="With the control process dead: on this machine, past the admin port.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", metavar="FILE", help="With --local: the server's ready file.")
    ] = None,
    pid: Annotated[
        int | None,
        typer.Option(
            "--pid",
            metavar="PID",
            min=1,
            help="With --local: the process `roost serve`, also in the file `lock` of its state folder.",
        ),
    ] = None,
) -> None:
    """Take the canary back; without a canary, go back to the last safe version. At once, without any loading.

    \b
    roost rollback churn --reason "scores drift"
    roost rollback churn --local --ready-file /run/roost/ready.json
    """
    if not local:
        if pid is not None or ready_file is not None:
            raise typer.BadParameter("expected --local beside it, got none.", param_hint="--ready-file, --pid")
        _done(change, "Rollback", model=model, quarantine=quarantine)
        return
    if quarantine or change.if_revision is not None:
        raise typer.BadParameter(
            "expected neither --quarantine nor --if-revision beside it: only the control process can do these.",
            param_hint="--local",
        )
    from server.cli.operators.local import parent_pid, roll_back

    roll_back(change, model, parent_pid(pid, ready_file))


@changes()
def quarantine(change: Change, digest: DigestArgument, model: OfModelOption = "") -> None:
    """Serve an artifact no more, whatever points at it, until it is released.

    \b
    roost quarantine 5c1e9a04 --reason "trained on leaked labels"
    """
    _done(change, "Quarantine", digest=digest, model=model)


@changes()
def release(change: Change, digest: DigestArgument, model: OfModelOption = "") -> None:
    """Let an artifact out of quarantine. That alone does not serve it.

    \b
    roost release 5c1e9a04 --reason "it was the network"
    """
    _done(change, "Release", digest=digest, model=model)


@changes()
def freeze(change: Change, model: EveryModelArgument = "") -> None:
    """Stop all automatic action: no promotion, no next step, no going home. Operators' commands still work.

    \b
    roost freeze --reason "the upstream is being moved"
    """
    _done(change, "Freeze", model=model)


@changes()
def unfreeze(change: Change, model: EveryModelArgument = "") -> None:
    """Allow automatic action again. What was put off is done now.

    \b
    roost unfreeze churn
    """
    _done(change, "Unfreeze", model=model)


@changes()
def pause(change: Change, model: ModelArgument) -> None:
    """Keep the canary at its step. If it is worse, it still goes home.

    \b
    roost pause churn --reason "over the weekend"
    """
    _done(change, "Pause", model=model)


@changes()
def resume(change: Change, model: ModelArgument) -> None:
    """Let the canary's plan go on.

    \b
    roost resume churn
    """
    _done(change, "Resume", model=model)


COMMANDS = (
    canary, weights, shadow, promote, rollback, quarantine, release, freeze, unfreeze, pause, resume,
)  # fmt: skip


def _done(change: Change, method: str, **fields: Any) -> None:
    """Asks for it, and says what has become of it."""
    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected
    from server.cli.operators.documents import document, print_json

    operation = admin_pb2.Operation(
        operator=change.operator,
        reason=change.reason,
        request_id=change.request_id,
        if_revision=change.if_revision,
    )
    request = getattr(admin_pb2, f"{method}Request")(operation=operation, **fields)
    with connected(change) as port:
        reply = port.ask(method, request)
    if change.as_json:
        print_json(document(reply))
        return
    print(reply.message + (" (It was done before; this is its answer again.)" if reply.replayed else ""))
    for alert in sorted({alert for model in reply.models for alert in model.alerts}):
        print(f"roost: {alert}", file=sys.stderr)


def _say_where_nothing_is_compared(weight_ppm: int | None) -> None:
    if weight_ppm in (0, PPM):
        print(
            f"roost: at {share(weight_ppm)} nothing is compared: only a crash, a hang or too much memory takes it "
            "home. Give it a share between, or watch it yourself.",
            file=sys.stderr,
        )


def _plan_json(file: Path) -> str:
    """The plan of a file, read here too: a slip in it is a slip on the command line."""
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
        read_plan(document, str(file))
    except OSError as error:
        raise _bad_plan(f"expected a readable file, got {file}: {error.strerror}.") from error
    except BadPlan as bad:
        raise _bad_plan(f"{bad}") from bad
    except (ValueError, RecursionError) as error:
        kind = "TOML" if file.suffix == ".toml" else "JSON, or TOML in a file that ends in .toml"
        raise _bad_plan(f"{file}: expected {kind}, got something else: {error}") from error
    return json.dumps(document)


def _bad_plan(text: str) -> typer.BadParameter:
    return typer.BadParameter(text, param_hint="--plan")
