"""docs/guides/models-in-ci.md says of the relay what it does: options, answers, bounds, and the server's side of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pipelines.definition import EXAMPLES
from pipelines.retraining import __main__ as command
from pipelines.retraining.delivery import BODY_BYTES_MAX, TOLERANCE_S
from pipelines.retraining.receiver import BODY_S_MAX, PATH
from server.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "guides" / "models-in-ci.md").read_text()
PART = PAGE.partition("\n## Retrain on drift\n")[2].partition("\n## ")[0]


def test_every_option_is_on_the_page_with_its_default() -> None:
    told = re.findall(r"^\| `(--[a-z-]+) [^`]+` \|([^|]*)\|", PART, re.MULTILINE)
    actions = {action.option_strings[0]: action for action in command._parser()._actions if action.dest != "help"}
    assert {name for name, _ in told} == actions.keys()
    for name, default in told:
        expected = actions[name].default
        shown = f"{expected:g}" if isinstance(expected, float) else expected
        assert default.strip(" `") == ("every example" if name == "--model" else shown or ""), name
    assert actions["--model"].default is None, "which means all of the examples"
    assert EXAMPLES


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    assert f"more than {TOLERANCE_S} s old" in PART
    assert f"longer than {BODY_BYTES_MAX:,} bytes, or not there within {BODY_S_MAX:g} s" in PART
    assert f"listening on http://{command.LISTEN}{PATH}" in PART


def test_the_servers_settings_on_the_page_are_taken_and_lead_to_the_relay() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", PART, re.MULTILINE | re.DOTALL)
    (webhook,) = Settings.model_validate(tomllib.loads(block)).webhooks
    assert webhook.url == f"http://{command.LISTEN}{PATH}"
    assert list(webhook.events) == ["drift"]
