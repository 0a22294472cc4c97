"""Every key of the settings as people see it: the rows of the configuration page, and what messages name.

Used by the command line and by the test that holds the page. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from server.settings import LISTS, Section, Settings


@dataclass(frozen=True)
class SettingsField:
    """A key as people see it: `default` and `allowed` are the texts of the configuration page."""

    key: str
    default: str
    allowed: str
    description: str


def settings_fields() -> Iterator[SettingsField]:
    """Every key, in the order of the sections. The lists come last, as `models[].name` and so on."""
    for section, field in Settings.model_fields.items():
        if section in LISTS:
            yield from _fields_of(f"{section}[]", LISTS[section])
        else:
            model = field.annotation
            assert isinstance(model, type), section
            assert issubclass(model, Section), section
            yield from _fields_of(section, model)


def _fields_of(section: str, model: type[Section]) -> Iterator[SettingsField]:
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _text(field.default)
        yield SettingsField(f"{section}.{name}", default, _allowed(field), field.description or "")


def _text(default: object) -> str:
    if isinstance(default, tuple):
        return ", ".join(map(str, default)) or "none"
    return "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def _allowed(field: Any) -> str:
    if field.json_schema_extra:
        return str(field.json_schema_extra["allowed"])
    bounds = {name: getattr(part, name) for part in field.metadata for name in ("ge", "le") if hasattr(part, name)}
    if bounds:
        return f"{_text(bounds['ge'])} to {_text(bounds['le'])}"
    return ", ".join(field.annotation.__args__)
