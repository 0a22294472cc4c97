"""What a setting's value may be: types that check themselves, each with the words that say what it takes.

Used by `settings`. Always: an error says what was expected and what came, and shows no secret.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from registry_client.names import ALIAS, MODEL_NAME, VERSION
from server import webhook_url
from server.addresses import is_loopback, split_address

MODEL_REFERENCE: Final = re.compile(f"@(?:{ALIAS.pattern})|{VERSION.pattern}")

MODEL_NAME_ALLOWED: Final = "1 to 100 letters, digits, `.`, `_` or `-`, the first a letter or a digit"
TRACKING_URI_ALLOWED: Final = "a URI like `sqlite:///mlflow.db` or `http://host:5000`"
MODEL_REFERENCE_ALLOWED: Final = "`@` and an alias, or a version's number"
VARIABLE_ALLOWED: Final = "an environment variable's name"
SIGNERS_ALLOWED: Final = "a list of `NAME=FILE`, each a P-256 public key as PEM"

WebhookKind = Literal["rollback", "promote", "quarantine", "incident", "alert", "drift"]
WEBHOOK_KINDS: Final[tuple[WebhookKind, ...]] = get_args(WebhookKind)


def _address(value: str) -> str:
    split_address(value)
    return value


def _admin_address(value: str) -> str:
    host, _ = split_address(value)
    if not is_loopback(host):
        raise ValueError(
            f"expected a loopback host (127.0.0.1, [::1], localhost), got {value!r}. The admin port asks nobody who "
            "they are, so that it must not leave this machine; reach it through an SSH tunnel or a port-forward"
        )
    return value


def _model_name(value: str) -> str:
    if not MODEL_NAME.fullmatch(value):
        raise ValueError(f"expected {MODEL_NAME_ALLOWED}, got {value!r}")
    return value


def _model_reference(value: str) -> str:
    if not MODEL_REFERENCE.fullmatch(value):
        raise ValueError(f"expected {MODEL_REFERENCE_ALLOWED}, got {value!r}")
    return value


def _variable(value: str) -> str:
    """The error does not show the value: it may be the secret itself, put into the wrong key."""
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", value, re.ASCII):
        raise ValueError(f"expected {VARIABLE_ALLOWED}, got another text. The secret itself stands in no setting")
    return value


def _listed(value: object) -> object:
    """Names as the environment and flags give them: one text, with commas."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _some(value: tuple[WebhookKind, ...]) -> tuple[WebhookKind, ...]:
    if not value:
        raise ValueError("expected one kind at least, got none. Remove the webhook instead")
    return value


def _signers(value: tuple[str, ...]) -> tuple[str, ...]:
    """Each with the home folder written out."""
    found: dict[str, str] = {}
    for text in value:
        name, equals, path = text.partition("=")
        if not equals or not path or not MODEL_NAME.fullmatch(name):
            raise ValueError(f"expected {SIGNERS_ALLOWED.replace('`', '')}, got {text!r}. Like release=release.pem")
        if name in found:
            raise ValueError(f"expected every name once, got {name!r} twice. Remove one of them")
        found[name] = str(Path(path).expanduser())
    return tuple(f"{name}={path}" for name, path in found.items())


Address = Annotated[str, AfterValidator(_address)]
HomePath = Annotated[Path, AfterValidator(Path.expanduser)]
AdminAddress = Annotated[str, AfterValidator(_admin_address)]
ModelName = Annotated[str, AfterValidator(_model_name)]
ModelReference = Annotated[str, AfterValidator(_model_reference)]
WebhookUrl = Annotated[str, AfterValidator(webhook_url.check_url)]
WebhookKinds = Annotated[tuple[WebhookKind, ...], AfterValidator(_some)]
VariableName = Annotated[str, AfterValidator(_variable)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Signers = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_signers)]


def within(default: float, low: float, high: float, description: str) -> Any:
    """A number with its default, both bounds allowed."""
    return Field(default=default, ge=low, le=high, description=description)


def described(default: Any, allowed: str, description: str) -> Any:
    """A value that is no number: what is allowed is said in words."""
    return Field(default=default, description=description, json_schema_extra={"allowed": allowed})
