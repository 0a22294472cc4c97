"""The options that all operators' commands share, and the decorators that add them.

Used by `looking`, `changing` and `journal`. Always: `@looks` gives a command --admin, --timeout and --json, as one
Look; `@changes` gives it also who asks and why, as one Change.
"""

from __future__ import annotations

import getpass
import inspect
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final

import typer

from server.addresses import split_address

ADMIN_DEFAULT: Final = "127.0.0.1:8003"
ADMIN_VARIABLE: Final = "ROOST_ADMIN"
OPERATOR_VARIABLE: Final = "ROOST_OPERATOR"
NO_REASON: Final = "none given"
TIMEOUT_S: Final = 30.0

Command = Callable[..., None]


class Window(Enum):
    """Lengths of the windows in which drift is looked for."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True)
class Look:
    """Whom to ask, for how long to wait, and how to answer."""

    admin: str
    timeout_s: float
    as_json: bool


@dataclass(frozen=True)
class Change(Look):
    """Also who asks, why, and an id by which the same operation is known again."""

    operator: str
    reason: str
    request_id: str
    if_revision: int | None


def _checked_address(address: str) -> str:
    try:
        split_address(address)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return address


AdminOption = Annotated[
    str,
    typer.Option("--admin", metavar="HOST:PORT", envvar=ADMIN_VARIABLE, callback=_checked_address, help="The server."),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="To wait for an answer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
OperatorOption = Annotated[
    str | None,
    typer.Option(
        "--operator",
        metavar="NAME",
        envvar=OPERATOR_VARIABLE,
        show_default="who runs the command",
        help="Who asks, for the journal.",
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the journal.")]
RequestIdOption = Annotated[
    str | None,
    typer.Option("--request-id", metavar="ID", help="Asked again with the same id, it is not done twice."),
]
IfRevisionOption = Annotated[
    int | None, typer.Option("--if-revision", metavar="N", min=0, help="Only where the model is at this revision.")
]


def looks(timeout_s: float = TIMEOUT_S) -> Callable[[Command], Command]:
    """For a command that changes nothing; its first parameter is the Look."""

    def decorated(command: Command) -> Command:
        def run(*, admin: str, timeout: float, as_json: bool, **own: Any) -> None:
            command(Look(admin, timeout, as_json), **own)

        return _with_options(run, command, _asking(timeout_s))

    return decorated


def changes(timeout_s: float = TIMEOUT_S) -> Callable[[Command], Command]:
    """For a command that changes something; its first parameter is the Change."""

    def decorated(command: Command) -> Command:
        def run(
            *,
            reason: str,
            operator: str | None,
            request_id: str | None,
            if_revision: int | None,
            admin: str,
            timeout: float,
            as_json: bool,
            **own: Any,
        ) -> None:
            # Every operation has an id: who gets no answer can ask again.
            known_as = request_id if request_id is not None else str(uuid.uuid4())
            who = operator if operator is not None else _who_runs_this()
            command(Change(admin, timeout, as_json, who, reason, known_as, if_revision), **own)

        who_and_why = [
            _option("reason", ReasonOption, NO_REASON),
            _option("operator", OperatorOption, None),
            _option("request_id", RequestIdOption, None),
            _option("if_revision", IfRevisionOption, None),
        ]
        return _with_options(run, command, who_and_why + _asking(timeout_s))

    return decorated


def _who_runs_this() -> str:
    try:
        return getpass.getuser()  # $LOGNAME, $USER, or the name of the user id
    except (KeyError, OSError):
        raise typer.BadParameter(
            "expected a name, got none: this user id has none. Say who you are.", param_hint="--operator"
        ) from None


def _asking(timeout_s: float) -> list[inspect.Parameter]:
    return [
        _option("admin", AdminOption, ADMIN_DEFAULT),
        _option("timeout", TimeoutOption, timeout_s),
        _option("as_json", JsonOption, False),
    ]


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _with_options(run: Command, command: Command, shared: list[inspect.Parameter]) -> Command:
    """`run` as typer shall see it: the command's own parameters without its first, then the shared ones."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + shared
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    return run
