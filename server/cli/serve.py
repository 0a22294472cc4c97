"""`roost serve`: the flags, the settings they make, and what people read while it starts.

Always: a wrong setting is one line on standard error and exit code 2, before anything is started; a model that is not
there is a line of the log and exit code 78.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from native.cache import are_kernels_compiled
from server.cli.children import WARM_COMMAND
from server.cli.configuration import ConfigurationError, Values, load_settings
from server.cli.doors import Doors, open_doors
from server.cli.parent import Commands, Parent
from server.cli.pinning import PinningFailed, described, pin_models
from server.cli.state_lock import hold_state
from server.control.webhooks.signing import SecretMissing, read_key
from server.logs import start_logging
from server.processes import EXIT_REFUSED
from server.settings import RegistrySettings, Settings

log = logging.getLogger("roost.parent")

EXIT_CONFIGURATION: Final = 2
MODEL_FLAG: Final = re.compile(r"(?P<name>[^@:]+)(?:(?P<alias>@.+)|:(?P<version>.+))?")


def serve(
    onnx: Annotated[list[str] | None, typer.Option(metavar="NAME=FILE", help="Serve an ONNX file; repeatable.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@ALIAS|:VERSION]",
            help="Serve an artifact of the registry, a bare NAME as @stable or else the newest; repeatable.",
        ),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="FOLDER|URI", help="A folder registry, or an MLflow tracking URI.")
    ] = None,
    state: Annotated[str | None, typer.Option(metavar="FOLDER", help="The server's own journal and evidence.")] = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="gRPC predictions.")] = None,
    http: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Metrics and health.")] = None,
    admin: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="For operators; loopback only.")] = None,
    workers: Annotated[str | None, typer.Option(metavar="NUMBER", help="Processes that serve.")] = None,
    listener: Annotated[str | None, typer.Option(metavar="auto|fast|grpcio", help="Which gRPC server.")] = None,
    ready_file: Annotated[
        str | None, typer.Option(metavar="PATH", help="Written as JSON with the real addresses once all is ready.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as TOML.")] = None,
    log_format: Annotated[str | None, typer.Option(metavar="human|json", help="How logs look.")] = None,
) -> None:
    """Serve models: one parent, one control process, and the workers.

    Flags win over the environment (ROOST_SECTION__KEY), that over the file. Port 0 takes any free port.
    """
    server = {
        "listen": listen,
        "http": http,
        "admin": admin,
        "workers": workers,
        "listener": listener,
        "ready_file": ready_file,
    }
    place = "mlflow" if registry is not None and "://" in registry else "path"
    sections = {
        "server": server,
        "registry": {place: registry},
        "lifecycle": {"state": state},
        "logs": {"format": log_format},
    }
    try:
        flags = _given(sections) | _models(onnx or (), model or ())
        settings = load_settings(flags, os.environ, config)
        _check(settings)
        start_logging(settings.logs, "parent")
        if any(model.onnx is None for model in settings.models):
            hold_state(settings.lifecycle.state)
        pins = pin_models(settings)
        doors = open_doors(settings.server)
    except ConfigurationError as error:
        for line in error.lines:
            print(f"roost: {line}", file=sys.stderr)
        raise typer.Exit(EXIT_CONFIGURATION) from None
    except PinningFailed as refusal:
        for line in refusal.lines:
            log.error("%s", line)
        raise typer.Exit(EXIT_REFUSED) from None
    commands = commands_for(doors.listener)
    raise typer.Exit(Parent(settings, pins, doors, commands, lambda: _announce(settings, doors)).run())


def commands_for(listener: str) -> Commands:
    """What the parent runs for each part: kernels are compiled first, unless all that this listener needs are there."""
    return Commands(warm=None if are_kernels_compiled(fast_lane=listener == "fast") else WARM_COMMAND)


def _given(sections: dict[str, dict[str, Any]]) -> Values:
    """Only what was given on the command line."""
    given = {
        section: {key: value for key, value in content.items() if value is not None}
        for section, content in sections.items()
    }
    return {section: content for section, content in given.items() if content}


def _models(onnx: Sequence[str], references: Sequence[str]) -> Values:
    """The models of the flags; they replace those of the file and the environment as a whole."""
    models = [_onnx_model(text) for text in onnx] + [_registry_model(text) for text in references]
    return {"models": models} if models else {}


def _onnx_model(text: str) -> Values:
    name, equals, file = text.partition("=")
    if not equals or not name or not file:
        raise ConfigurationError([f"--onnx: expected NAME=FILE, got {text!r}. For example: --onnx mlp=model.onnx"])
    return {"name": name, "onnx": file}


def _registry_model(text: str) -> Values:
    match = MODEL_FLAG.fullmatch(text)
    if match is None:
        raise ConfigurationError([f"--model: expected NAME, NAME@ALIAS or NAME:VERSION, got {text!r}."])
    reference = match["alias"] or match["version"]
    return {"name": match["name"]} | ({"reference": reference} if reference else {})


def _check(settings: Settings) -> None:
    """What can be seen to fail before a process is started."""
    lines = []
    if not settings.models:
        lines.append("models: expected at least one, got none. Name one with --onnx NAME=FILE or --model NAME.")
    for model in settings.models:
        if model.onnx is not None and not model.onnx.is_file():
            lines.append(
                f"models: {model.name}: expected an ONNX file, got {str(model.onnx)!r}: there is no such file."
            )
    registry = settings.registry.path
    if registry is not None and not registry.is_dir():
        lines.append(f"registry.path: expected a folder, got {str(registry)!r}: there is no such folder.")
    lines += _unusable_signers(settings.registry)
    for index, webhook in enumerate(settings.webhooks):
        try:
            read_key(webhook, os.environ)
        except SecretMissing as missing:
            lines.append(f"webhooks[{index}].{missing}.")
    ready_file = settings.server.ready_file
    if ready_file is not None and not ready_file.parent.is_dir():
        lines.append(f"server.ready_file: expected a path in a folder that exists, got {str(ready_file)!r}.")
    if settings.record.share > 0 and find_spec("pyarrow") is None:
        lines.append(
            "record.share: expected pyarrow to write the files with, got no such package. Install it, pip install "
            "'roost-server[baseline]', or record nothing."
        )
    if lines:
        raise ConfigurationError(lines)


def _unusable_signers(registry: RegistrySettings) -> list[str]:
    """A line where a key is missing or bad: no version could be loaded."""
    if not registry.signers:
        return []
    from registry_client.errors import ArtifactError
    from registry_client.signing.keys import read_signers

    if find_spec("model_signing") is None or find_spec("OpenSSL") is None:
        return [
            "registry.signers: expected model-signing and pyOpenSSL to check signatures with, got no such packages. "
            "Install them, pip install 'roost-server[registry]', or ask for no signatures."
        ]
    try:
        read_signers(registry.signers, "registry.signers")
    except ArtifactError as refusal:
        return [str(refusal)]
    return []


def _announce(settings: Settings, doors: Doors) -> None:
    """Said once all is ready."""
    addresses = doors.addresses
    for model in settings.models:
        log.info("serves %s", described(model))
    fields = {"listener": doors.listener, "workers": settings.server.workers}
    log.info("ready: gRPC on %s", addresses.listen, extra={"fields": fields})
    log.info("metrics and health on http://%s/, admin gRPC on %s", addresses.http, addresses.admin)
