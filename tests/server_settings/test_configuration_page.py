"""docs/reference/configuration.md says what the code does."""

import re
from pathlib import Path

import pytest

from server.cli.configuration import ConfigurationError, load_settings
from server.settings_fields import SettingsField, settings_fields

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/configuration.md").read_text()
FIELDS = tuple(settings_fields())


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.key)
def test_a_setting_is_documented_with_default_range_and_meaning(field: SettingsField) -> None:
    assert f"| `{field.key}` | `{field.default}` | {field.allowed} | {field.description} |" in PAGE


def test_no_setting_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `([a-z_\[\].]+)` \|", PAGE, re.M)
    assert documented == [field.key for field in FIELDS]


def test_the_example_file_is_accepted(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert example is not None
    file = tmp_path / "roost.toml"
    file.write_text(example[1])
    settings = load_settings({}, {}, file)
    assert settings.models[0].name == "mlp"
    assert settings.server.workers == 2


def test_the_errors_shown_are_those_given() -> None:
    shown = re.findall(r"^roost: (.*)$", PAGE, re.M)
    given: list[str] = []
    for flags, environment in (({}, {"ROOST_LIMITS__HEADRS_MAX": "1"}), ({"server": {"workers": "0"}}, {})):
        with pytest.raises(ConfigurationError) as refused:
            load_settings(flags, environment, None)
        given += refused.value.lines
    assert shown == given
