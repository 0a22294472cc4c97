"""Where settings come from, which one wins, and what a mistake is answered with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry_client.errors import BadDocument
from registry_client.manifest import check_model_name
from registry_client.registry import check_alias, parse_target
from server.addresses import is_loopback, join_address, split_address
from server.cli.configuration import ConfigurationError, load_settings
from server.processes import ControlSpec, WorkerSpec
from server.settings import ModelSettings, Settings
from server.settings_fields import settings_fields

DEFAULTS = {field.key: field for field in settings_fields()}


def lines_of(flags: dict[str, Any] | None = None, file: Path | None = None, **environment: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(flags or {}, environment, file)
    return refused.value.lines


def written(folder: Path, text: str) -> Path:
    file = folder / "roost.toml"
    file.write_text(text)
    return file


def test_without_anything_the_defaults_hold() -> None:
    assert load_settings({}, {}, None) == Settings()


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "[limits]\nheaders_max = 20\nslots_max = 20\nconnections_max = 20\n")
    environment = {"ROOST_LIMITS__HEADERS_MAX": "30", "ROOST_LIMITS__SLOTS_MAX": "30"}
    limits = load_settings({"limits": {"headers_max": 40}}, environment, file).limits
    assert (limits.headers_max, limits.slots_max, limits.connections_max) == (40, 30, 20)


def test_models_of_a_flag_replace_those_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, '[[models]]\nname = "a"\nonnx = "a.onnx"\n')
    settings = load_settings({"models": [{"name": "b", "onnx": "b.onnx"}]}, {}, file)
    assert [model.name for model in settings.models] == ["b"]


def test_models_can_come_from_the_environment() -> None:
    settings = load_settings({}, {"ROOST_MODELS": '[{"name": "a", "onnx": "a.onnx"}]'}, None)
    assert settings.models[0].onnx == Path("a.onnx")


def test_what_kubernetes_sets_beside_a_service_called_roost_is_not_read() -> None:
    environment = {"ROOST_PORT": "tcp://10.0.0.1:8001", "ROOST_SERVICE_HOST": "10.0.0.1", "ROOST_LIMITS__SLOTS_MAX": ""}
    assert load_settings({}, environment, None) == Settings()


@pytest.mark.parametrize(
    "key", [key for key, field in DEFAULTS.items() if field.allowed[0].isdigit() and "[" not in key]
)
def test_a_number_outside_its_range_is_refused_with_key_value_and_range(key: str) -> None:
    section, name = key.split(".")
    low, high = (float(bound) for bound in DEFAULTS[key].allowed.split(" to "))
    for wrong in (low - 1, high + 1):
        text = f"{wrong:g}" if wrong != int(wrong) else str(int(wrong))
        (line,) = lines_of(**{f"ROOST_{section}__{name}".upper(): text})
        assert line == f'{key}: expected {DEFAULTS[key].allowed}, got "{text}" (in the environment).'


@pytest.mark.parametrize(
    "key", [key for key, field in DEFAULTS.items() if field.allowed[0].isdigit() and "[" not in key]
)
def test_both_bounds_of_a_range_are_allowed(key: str) -> None:
    section, name = key.split(".")
    fitting = {  # a bound of one key may ask for another's
        "record": {"folder": "recorded"},
        "batching": {"queue_rows_max": 1 << 20, "max_batch_size": 1},
        "limits": {
            "message_bytes_max": 1 << 10,
            "reply_bytes_per_connection_max": 1 << 30,
            "assembling_bytes_per_connection_max": 1 << 16,
            "assembling_bytes_max": 1 << 30,
        },
    }
    for bound in DEFAULTS[key].allowed.split(" to "):
        changed = fitting.get(section, {}) | {name: bound}
        if name == "message_bytes_max":
            changed["assembling_bytes_per_connection_max"] = 1 << 30
        settings = load_settings({section: changed}, {}, None)
        assert float(getattr(getattr(settings, section), name)) == float(bound)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"limits": {"headrs_max": 5}}, "limits.headrs_max: no such key (by a flag). Did you mean headers_max?"),
        ({"limts": {"headers_max": 5}}, "limts: no such section (by a flag). Did you mean limits?"),
        ({"models": [{"nam": "a"}]}, "models[0].nam: no such key (by a flag). Did you mean name?"),
        ({"logs": {"zzz": 1}}, "logs.zzz: no such key (by a flag). Known: format, level."),
        ({"server": {"workers": "two"}}, 'server.workers: expected a whole number, 1 to 64, got "two" (by a flag).'),
        ({"server": {"listener": "tls"}}, 'server.listener: expected auto, fast, grpcio, got "tls" (by a flag).'),
        (
            {"server": {"listen": "8001"}},
            "server.listen: expected host:port, port 0 to 65535, got '8001' (by a flag).",
        ),
        (
            {"server": {"listen": "h:65536"}},
            "server.listen: expected host:port, port 0 to 65535, got 'h:65536' (by a flag).",
        ),
        ({"server": 4}, "server: expected a table of keys, got 4 (by a flag)."),
        (
            {"models": [{"onnx": "a"}]},
            f"models[0].name: expected {DEFAULTS['models[].name'].allowed}, got none (by a flag).",
        ),
        (
            {"models": [{"name": "a"}]},
            "registry.path: expected the registry of a, got none. "
            "Set it with --registry (a folder, or an MLflow tracking URI), or name ONNX files.",
        ),
        (
            {"models": [{"name": "a", "onnx": "f", "reference": "@stable"}], "registry": {"path": "r"}},
            "models[0]: expected at most one of onnx and reference for the model 'a', got both (by a flag).",
        ),
        (
            {"models": [{"name": "a", "reference": "stable"}], "registry": {"path": "r"}},
            "models[0].reference: expected `@` and an alias, or a version's number, got 'stable' (by a flag).",
        ),
        (
            {"models": [{"name": "a", "onnx": "f"}, {"name": "a", "onnx": "g"}]},
            "models: expected every name once, got a twice.",
        ),
        (
            {"models": [{"name": "a", "reference": "@stable"}]},
            "registry.path: expected the registry of a, got none. "
            "Set it with --registry (a folder, or an MLflow tracking URI), or name ONNX files.",
        ),
        (
            {"limits": {"message_bytes_max": 17 << 20}},
            "limits.reply_bytes_per_connection_max: expected at least limits.message_bytes_max (17825792), "
            "got 16777216. One message must fit.",
        ),
        (
            {"limits": {"assembling_bytes_max": 1 << 20}},
            "limits.assembling_bytes_max: expected at least limits.assembling_bytes_per_connection_max (16777216), "
            "got 1048576.",
        ),
        (
            {"record": {"share": 0.1}},
            "record.folder: expected a folder beside record.share = 0.1, got none. "
            "Say where the rows are kept, or leave the share out.",
        ),
        (
            {"batching": {"queue_rows_max": 100}},
            "batching.queue_rows_max: expected at least batching.max_batch_size (1024), got 100.",
        ),
        (
            {"drift": {"predictions": "rollback", "i_know": True, "reason": " "}},
            "drift.predictions: expected off, alert or hold, or drift.i_know with drift.reason, got rollback with "
            "no drift.reason. Every version sees the same inputs, so that going home seldom helps.",
        ),
        (
            {"drift": {"inputs": "rollback", "reason": "the season"}},
            "drift.inputs: expected off, alert or hold, or drift.i_know with drift.reason, got rollback with "
            "no drift.i_know. Every version sees the same inputs, so that going home seldom helps.",
        ),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(flags: dict[str, Any], line: str) -> None:
    assert lines_of(flags) == (line,)


def test_every_mistake_gets_a_line() -> None:
    assert len(lines_of({"limits": {"headers_max": 0, "slots_max": 0}, "server": {"workers": 0}})) == 3


@pytest.mark.parametrize("admin", ["0.0.0.0:8003", "10.0.0.1:8003", "[::]:8003", "roost.example:8003"])
def test_the_admin_port_is_refused_beyond_loopback_with_the_reason(admin: str) -> None:
    (line,) = lines_of({"server": {"admin": admin}})
    assert line.startswith(f"server.admin: expected a loopback host (127.0.0.1, [::1], localhost), got '{admin}'.")
    assert "asks nobody who they are" in line


@pytest.mark.parametrize("admin", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:8003", "localhost:8003"])
def test_the_admin_port_may_be_any_loopback_address(admin: str) -> None:
    assert load_settings({"server": {"admin": admin}}, {}, None).server.admin == admin


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (line,) = lines_of(file=written(tmp_path, "[limits\n"))
    assert line.startswith(f"--config: expected TOML, got {tmp_path}/roost.toml: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert lines_of(file=tmp_path / "none.toml") == (
        f"--config: expected a readable file, got {tmp_path}/none.toml: No such file or directory",
    )


def test_models_in_the_environment_that_are_no_json_are_refused() -> None:
    (line,) = lines_of(ROOST_MODELS="[{")
    assert line == 'models: expected a list of tables (as JSON in the environment), got "[{" (in the environment).'


@pytest.mark.parametrize("address", ["h:1", "127.0.0.1:0", "[::1]:65535"])
def test_an_address_is_put_together_as_it_was_taken_apart(address: str) -> None:
    assert join_address(*split_address(address)) == address


@pytest.mark.parametrize("address", ["", ":1", "h", "h:", "h:-1", "h:x", "::1:1", "h:\uff11"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        split_address(address)


def test_a_name_that_needs_a_look_up_is_not_taken_for_loopback() -> None:
    assert not is_loopback("loopback.example")


def test_a_home_folder_is_written_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().registry.cache == tmp_path / ".cache/roost"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().server.workers = 2  # type: ignore[misc]


def test_what_a_child_reads_is_what_the_parent_wrote() -> None:
    settings = load_settings({"models": [{"name": "a", "onnx": "~/a.onnx"}], "limits": {"headers_max": 17}}, {}, None)
    worker = WorkerSpec(
        index=1,
        generation=3,
        listener="fast",
        listen_fd=5,
        listen_host="::1",
        listen_port=4,
        plane_fd=6,
        settings=settings,
    )
    control = ControlSpec(http_fd=3, admin_host="::1", admin_port=4, listen="h:1", plane_fd=6, settings=settings)
    assert WorkerSpec.model_validate_json(worker.model_dump_json()) == worker
    assert ControlSpec.model_validate_json(control.model_dump_json()) == control


TEXTS = [
    "a",
    "A",
    "1",
    "0",
    "v1",
    "v1a",
    "7b",
    "latest",
    "latest2",
    "stable",
    "Stable",
    "a_b-c",
    "a.b",
    "_a",
    "-a",
    ".a",
]
LONG_TEXTS = ["a" * length for length in (62, 63, 64, 100, 101, 128)]
ODD_TEXTS = ["9" * 9, "9" * 10, "", "a\n", "a b", "ä"]


@pytest.mark.parametrize("text", [*TEXTS, *LONG_TEXTS, *ODD_TEXTS])
def test_the_server_takes_the_names_and_references_that_the_registry_takes_and_no_others(text: str) -> None:
    def settings_take(**model: str) -> bool:
        try:
            ModelSettings.model_validate({"name": "m"} | model)
        except ValueError:
            return False
        return True

    def registry_takes(check: Callable[[str], object], value: str) -> bool:
        try:
            check(value)
        except BadDocument:
            return False
        return True

    assert settings_take(name=text) == registry_takes(check_model_name, text)
    assert settings_take(reference=f"@{text}") == registry_takes(check_alias, text)
    assert settings_take(reference=text) == registry_takes(lambda version: parse_target(f"m:{version}"), text)
