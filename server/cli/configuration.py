"""Gathers the settings: flags over environment over file over defaults, and says what is wrong in one line each.

Used by the commands; children get the finished object. The environment names a key as ROOST_SECTION__KEY, lists of
tables as JSON in ROOST_MODELS and ROOST_WEBHOOKS. Always: an unknown key is refused, wherever it came from, and named
with its origin.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from server.settings import LISTS, Settings
from server.settings_fields import settings_fields

ENVIRONMENT_PREFIX: Final = "ROOST_"
SECTION_DELIMITER: Final = "__"

Values = dict[str, Any]


class ConfigurationError(ValueError):
    """One or more settings are wrong. `lines` has one line for each, with key, expectation, value and origin."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class _Sources(BaseSettings):
    """Names the sections to pydantic-settings, untyped: values are judged once, when they are merged."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter=SECTION_DELIMITER, extra="allow", env_ignore_empty=True
    )
    server: Values | None = None
    logs: Values | None = None
    batching: Values | None = None
    limits: Values | None = None
    registry: Values | None = None
    webhooks: list[Values] | None = None
    models: list[Values] | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings,)


def load_settings(flags: Values, environment: Mapping[str, str], file: Path | None) -> Settings:
    """The settings, or a ConfigurationError that names every wrong key.

    flags: nested as the sections, only what was given. environment: usually os.environ. file: a TOML file.
    """
    layers = [
        (f"in {file}", _read_file(file) if file else {}),
        ("in the environment", _read_environment(environment)),
        ("by a flag", flags),
    ]
    unknown = [line for origin, values in layers for line in _unknown_keys(values, origin)]
    if unknown:
        raise ConfigurationError(unknown)
    merged: Values = {}
    for _, values in layers:
        _lay_over(merged, values)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError([_line(detail, layers) for detail in error.errors()]) from error


def _read_file(file: Path) -> Values:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"--config: expected a readable file, got {file}: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"--config: expected TOML, got {file}: {error}"]) from error


def _read_environment(environment: Mapping[str, str]) -> Values:
    """What pydantic-settings finds in the environment, nested by section.

    Only names with a section (ROOST_LIMITS__...), ROOST_MODELS and ROOST_WEBHOOKS are ours to judge: Kubernetes sets
    ROOST_PORT and the like in every pod beside a service that is called roost.
    """
    source = EnvSettingsSource(_Sources)
    own = {name: text for name, text in environment.items() if name.upper().startswith(ENVIRONMENT_PREFIX) and text}
    source.env_vars = {name.lower(): text for name, text in own.items()}
    values: Values = source()
    known = set(_Sources.model_fields)
    for name in own:
        section, delimiter, key = name[len(ENVIRONMENT_PREFIX) :].lower().partition(SECTION_DELIMITER)
        if delimiter and section not in known:
            values.setdefault(section, {})[key] = own[name]
    return {section: value for section, value in values.items() if section in known or isinstance(value, dict)}


def _lay_over(below: Values, above: Values) -> None:
    """Key by key for sections; a list of models replaces the one below it as a whole."""
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            below[name] = below[name] | value
        else:
            below[name] = value


def _unknown_keys(values: Values, origin: str) -> Iterator[str]:
    known = [field.key for field in settings_fields()]
    sections = sorted({key.partition(".")[0].removesuffix("[]") for key in known})
    for section, content in values.items():
        if section not in sections:
            yield f"{section}: no such section ({origin}).{_suggestion(section, sections)}"
        elif section in LISTS:
            yield from _unknown_in_list(section, content, known, origin)
        elif isinstance(content, dict):
            own = [key.partition(".")[2] for key in known if key.startswith(f"{section}.")]
            for key in content:
                if key not in own:
                    yield f"{section}.{key}: no such key ({origin}).{_suggestion(key, own)}"


def _unknown_in_list(section: str, content: object, known: list[str], origin: str) -> Iterator[str]:
    own = [key.partition(".")[2] for key in known if key.startswith(f"{section}[].")]
    for index, entry in enumerate(content if isinstance(content, list) else ()):
        for key in entry if isinstance(entry, dict) else ():
            if key not in own:
                yield f"{section}[{index}].{key}: no such key ({origin}).{_suggestion(key, own)}"


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else f" Known: {', '.join(known)}."


def _line(detail: ErrorDetails, layers: Sequence[tuple[str, Values]]) -> str:
    """`limits.headers_max: expected 16 to 4096, got 0 (by a flag).`"""
    location = detail["loc"]
    if not location:  # a rule between keys: its text names them
        return detail["msg"].removeprefix("Value error, ") + "."
    key = _key(location)
    origin = next((name for name, values in reversed(layers) if _holds(values, location)), "by default")
    if detail["type"] == "value_error":
        return f"{key}: {detail['msg'].removeprefix('Value error, ')} ({origin})."
    allowed = {field.key: field.allowed for field in settings_fields()}
    generic = f"{location[0]}[].{location[2]}" if location[0] in LISTS and len(location) > 2 else key
    if detail["type"] == "missing":
        return f"{key}: expected {allowed.get(generic, 'a value')}, got none ({origin})."
    wanted = allowed.get(generic) or (
        "a list of tables (as JSON in the environment)" if key in LISTS else "a table of keys"
    )
    number = "a whole number, " if detail["type"].startswith("int_") else ""
    return f"{key}: expected {number}{wanted}, got {_shown(detail['input'])} ({origin})."


def _key(location: tuple[int | str, ...]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _holds(values: Any, location: tuple[int | str, ...]) -> bool:
    for part in location[:2]:
        inside_list = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if not inside_list and not (isinstance(values, dict) and part in values):
            return False
        values = values[part]
    return True


def _shown(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
