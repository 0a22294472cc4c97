"""The command line: a mistake is a line on standard error and exit code 2, before anything is started."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import serve
from server.cli.application import app
from server.cli.ready_file import Addresses, write_ready_file
from server.version import VERSION

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "models: expected at least one, got none. Name one with --onnx NAME=FILE or --model NAME."),
        (["--onnx", "m.onnx"], "--onnx: expected NAME=FILE, got 'm.onnx'. For example: --onnx mlp=model.onnx"),
        (["--onnx", "m=gone"], "models: m: expected an ONNX file, got 'gone': there is no such file."),
        (["--model", "@x"], "--model: expected NAME, NAME@ALIAS or NAME:VERSION, got '@x'."),
        (
            ["--model", "m"],
            "registry.path: expected the registry of m, got none. "
            "Set it with --registry (a folder, or an MLflow tracking URI), or name ONNX files.",
        ),
        (
            ["--model", "m", "--registry", "gone"],
            "registry.path: expected a folder, got 'gone': there is no such folder.",
        ),
        (["--onnx", "m=x", "--workers", "65"], 'server.workers: expected 1 to 64, got "65" (by a flag).'),
        (["--onnx", "m=x", "--listener", "h3"], 'server.listener: expected auto, fast, grpcio, got "h3" (by a flag).'),
        (["--onnx", "m=x", "--log-format", "xml"], 'logs.format: expected human, json, got "xml" (by a flag).'),
        (
            ["--onnx", f"m={__file__}", "--ready-file", "gone/ready.json"],
            "server.ready_file: expected a path in a folder that exists, got 'gone/ready.json'.",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments: list[str], line: str) -> None:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 2
    assert result.stderr == f"roost: {line}\n"


def test_recording_without_the_library_that_writes_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda _name: None)
    recording = {"ROOST_RECORD__SHARE": "0.1", "ROOST_RECORD__FOLDER": "rows"}
    result = CliRunner().invoke(app, ["serve", "--onnx", f"m={__file__}"], env=recording)
    assert result.exit_code == 2
    assert result.stderr == (
        "roost: record.share: expected pyarrow to write the files with, got no such package. Install it, pip install "
        "'roost-server[baseline]', or record nothing.\n"
    )


@pytest.mark.parametrize(
    ("flag", "reference"), [("m", None), ("m@canary", "@canary"), ("m:3", "3"), ("a.b-c:12", "12")]
)
def test_a_model_flag_names_alias_or_version(flag: str, reference: str) -> None:
    from server.cli.serve import _registry_model

    assert _registry_model(flag).get("reference") == reference


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["version"]).stdout.strip() == VERSION


def test_the_command_line_does_not_load_the_compiler_or_a_model_runtime() -> None:
    """The parent is this process: what it imports stays for as long as the server runs."""
    program = (
        "import sys, server.cli.application; print([m for m in ('numba', 'onnxruntime', 'onnx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_ready_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text("old")
    write_ready_file(path, Addresses("a:1", "b:2", "c:3"), 1, 2, [3, 4])
    assert json.loads(path.read_text()) == {
        "listen": "a:1",
        "http": "b:2",
        "admin": "c:3",
        "pid": 1,
        "control": 2,
        "workers": [3, 4],
    }
    assert list(tmp_path.iterdir()) == [path]
