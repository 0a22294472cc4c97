"""Webhooks as people configure them: what is refused, in words that say what to write and show no secret."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.cli.application import app
from server.cli.configuration import ConfigurationError, load_settings
from server.processes import ControlSpec
from server.settings import WEBHOOKS_MAX
from server.settings_values import WEBHOOK_KINDS
from server.webhook_url import ALLOWED, origin_of

GOOD = {"name": "ops", "url": "https://h.example/x", "secret_variable": "HOOK_SECRET"}


def lines_of(**changes: Any) -> tuple[str, ...]:
    webhook = {key: value for key, value in (GOOD | changes).items() if value is not None}
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"webhooks": [webhook]}, {}, None)
    return refused.value.lines


def test_a_webhook_takes_every_kind_by_default_and_reaches_the_control_process_whole() -> None:
    settings = load_settings({"webhooks": [GOOD, GOOD | {"name": "other", "events": ["rollback"]}]}, {}, None)
    assert settings.webhooks[0].events == WEBHOOK_KINDS
    spec = ControlSpec(http_fd=3, admin_host="::1", admin_port=4, listen="h:1", plane_fd=6, settings=settings)
    assert ControlSpec.model_validate_json(spec.model_dump_json()) == spec


def test_webhooks_can_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "roost.toml"
    file.write_text('[[webhooks]]\nname = "a"\nurl = "http://127.0.0.1:1/"\nsecret_file = "s"\n')
    assert [one.name for one in load_settings({}, {}, file).webhooks] == ["a"]
    environment = {"ROOST_WEBHOOKS": '[{"name": "b", "url": "https://h", "secret_variable": "S"}]'}
    assert [one.name for one in load_settings({}, environment, file).webhooks] == ["b"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://h.example/TOKEN", "the scheme 'ftp'"),
        ("h.example/TOKEN", "the scheme ''"),
        ("https:///TOKEN", "no host"),
        ("https://user:TOKEN@h.example/", "a user or a password"),
        ("https://h.example/TOKEN#part", "a fragment"),
        ("https://h.example/TOKEN#", "a fragment"),
        ("https://h.example:0/TOKEN", "port 0"),
        ("https://h.example:65536/TOKEN", "one that can't be read"),
        ("https://[::1/TOKEN", "one that can't be read"),
        ("https://h.example/TOKEN here", "a character that it can't hold"),
        ("https://h.example/TOKEN\r\nx: y", "a character that it can't hold"),
        ("https://h\u00e4.example/TOKEN", "a character that it can't hold"),
    ],
)
def test_an_address_that_is_none_is_refused_and_not_shown(url: str, why: str) -> None:
    (line,) = lines_of(url=url)
    assert line.startswith(f"webhooks[0].url: expected {ALLOWED}, got {why}")
    assert "TOKEN" not in line


@pytest.mark.parametrize("host", ["h.example", "10.0.0.1", "0.0.0.0", "[2001:db8::1]:80"])
def test_plain_http_beyond_this_machine_is_refused_unless_it_is_allowed(host: str) -> None:
    (line,) = lines_of(url=f"http://{host}/TOKEN")
    assert line.startswith(f"webhooks[0]: expected https beyond this machine for 'ops', got http for {host!r}. Use")
    assert "TOKEN" not in line
    allowed = GOOD | {"url": f"http://{host}/", "plain_http_allowed": True}
    assert load_settings({"webhooks": [allowed]}, {}, None).webhooks[0].plain_http_allowed


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]:8080/x?y=z", "https://h"])
def test_what_stays_on_this_machine_or_is_encrypted_needs_no_leave(url: str) -> None:
    assert load_settings({"webhooks": [GOOD | {"url": url}]}, {}, None).webhooks[0].url == url


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"secret_variable": None},
            "webhooks[0]: expected one of secret_file and secret_variable for 'ops', got none (by a flag).",
        ),
        (
            {"secret_file": "s"},
            "webhooks[0]: expected one of secret_file and secret_variable for 'ops', got both (by a flag).",
        ),
        (
            {"secret_variable": "whsec_abc/+="},
            "webhooks[0].secret_variable: expected an environment variable's name, got another text. "
            "The secret itself stands in no setting (by a flag).",
        ),
        ({"secret": "x"}, "webhooks[0].secret: no such key (by a flag). Did you mean secret_file?"),
        (
            {"events": ["rollbck"]},
            "webhooks[0].events[0]: expected a list of rollback, promote, quarantine, incident, alert, drift, "
            'got "rollbck" (by a flag).',
        ),
        (
            {"events": []},
            "webhooks[0].events: expected one kind at least, got none. Remove the webhook instead (by a flag).",
        ),
        ({"attempts_max": 0}, "webhooks[0].attempts_max: expected 1 to 1000, got 0 (by a flag)."),
        ({"timeout_s": 61}, "webhooks[0].timeout_s: expected 0.1 to 60, got 61 (by a flag)."),
        ({"queue_max": 9}, "webhooks[0].queue_max: expected 10 to 10000, got 9 (by a flag)."),
        (
            {"url": None},
            f"webhooks[0].url: expected {ALLOWED}, got none (by a flag).",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(changes: dict[str, Any], line: str) -> None:
    assert lines_of(**changes) == (line,)


def test_two_webhooks_of_one_name_and_too_many_of_them_are_refused() -> None:
    for webhooks, says in (
        ([GOOD, GOOD], "webhooks: expected every name once, got ops twice."),
        (
            [GOOD | {"name": f"n{number}"} for number in range(WEBHOOKS_MAX + 1)],
            "webhooks: expected at most 16, got 17. Let one pass on.",
        ),
    ):
        with pytest.raises(ConfigurationError) as refused:
            load_settings({"webhooks": webhooks}, {}, None)
        assert refused.value.lines == (says,)


def test_a_server_whose_webhook_has_no_secret_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    config = tmp_path / "roost.toml"
    config.write_text(
        f'[[models]]\nname = "m"\nonnx = "{tmp_path}/m.onnx"\n'
        '[[webhooks]]\nname = "a"\nurl = "https://h/TOKEN"\nsecret_variable = "HOOK_SECRET"\n'
        f'[[webhooks]]\nname = "b"\nurl = "https://h/TOKEN"\nsecret_file = "{tmp_path}/none"\n'
    )
    result = CliRunner().invoke(app, ["serve", "--config", str(config)], env={"HOOK_SECRET": "too-short"})
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "roost: webhooks[0].secret_variable: expected a secret of at least 16 bytes, got 9.",
        f"roost: webhooks[1].secret_file: expected a file that can be read, got '{tmp_path}/none': "
        "No such file or directory.",
    ]


def test_as_much_of_an_address_is_shown_as_may_be() -> None:
    assert origin_of("https://h.example:8443/TOKEN?key=TOKEN") == "https://h.example:8443"
