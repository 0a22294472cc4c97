"""`roost bundle | verify | push | adopt | pull | list`, through the application that the console script runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from registry_client.golden import make_golden
from registry_client.onnx_model import read_onnx
from server.cli.bundles import register

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("bundle", "verify", "push", "adopt", "pull", "list")
Roost = Callable[..., "Outcome"]


class Outcome:
    """What a command said. `text` and `error` are its two streams."""

    def __init__(self, code: int, text: str, error: str) -> None:
        self.code, self.text, self.error = code, text, error

    def document(self) -> object:
        assert self.code == 0, self.error
        return json.loads(self.text)

    def refusal(self) -> str:
        """The one line of a refusal."""
        assert (self.code, self.text) == (1, ""), (self.text, self.error)
        assert self.error.startswith("roost: ")
        assert len(self.error.splitlines()) == 1, self.error
        return self.error


@pytest.fixture
def roost() -> Roost:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    register(app)

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def onnx_file(tmp_path: Path, doubling: bytes) -> Path:
    (tmp_path / "model.onnx").write_bytes(doubling)
    return tmp_path / "model.onnx"


@pytest.fixture
def bundled(roost: Roost, onnx_file: Path, tmp_path: Path) -> Path:
    assert roost("bundle", onnx_file, "--name", "twice", "--out", tmp_path / "b").code == 0
    return tmp_path / "b"


def test_a_model_goes_from_a_file_to_the_registry_and_back(roost, onnx_file, tmp_path):
    registry, out = tmp_path / "registry", tmp_path / "b"
    made = roost("bundle", onnx_file, "--name", "twice", "--out", out, "--json").document()
    assert made["name"] == "twice"
    assert roost("verify", out, "--digest", made["digest"], "--json").document()["examples"] == 1
    pushed = roost("push", out, "--registry", registry, "--alias", "stable", "--alias", "canary", "--json").document()
    assert (pushed["version"], pushed["digest"], pushed["aliases"]) == (1, made["digest"], ["canary", "stable"])
    assert roost("list", "--registry", registry, "--json").document() == [pushed]
    assert roost("list", "twice", "--registry", registry, "--json").document() == [pushed]
    for target in ("twice", "twice@stable", "twice:1"):
        assert roost("verify", target, "--registry", registry, "--json").document()["digest"] == made["digest"]
    assert roost("pull", "twice@stable", "--registry", registry, "--out", tmp_path / "back").code == 0
    assert {p.name: p.read_bytes() for p in (tmp_path / "back").iterdir()} == {
        p.name: p.read_bytes() for p in out.iterdir()
    }


def test_a_bare_name_is_stable_where_there_is_one_and_else_the_newest(
    roost, bundled, tmp_path, write_bundle_of_doubling
):
    registry = tmp_path / "r"
    write_bundle_of_doubling(tmp_path / "second", name="twice")
    for folder in (bundled, tmp_path / "second"):
        assert roost("push", folder, "--registry", registry).code == 0
    assert roost("verify", "twice", "--registry", registry).text.startswith("twice:2: sound")
    assert roost("verify", "twice:1", "--registry", registry, "--json").document()["version"] == 1
    assert roost("push", bundled, "--registry", registry, "--alias", "stable").code == 0
    assert roost("verify", "twice", "--registry", registry).text.startswith("twice:1: sound")
    assert roost("pull", "twice", "--registry", registry, "--out", tmp_path / "o").text.startswith("twice:1 is in")


def test_text_for_people_names_what_was_done(roost, bundled, tmp_path):
    registry = tmp_path / "registry"
    assert "twice:1, @stable, digest " in roost("push", bundled, "--registry", registry, "--alias", "stable").text
    assert "twice: sound (files: 2, golden examples: 1)" in roost("verify", bundled).text
    table = roost("list", "--registry", registry).text
    assert all(word in table for word in ("version", "twice", "@stable"))


def test_list_shows_brackets_in_tags_as_they_are(roost, bundled, tmp_path):
    from registry_client.folder import FolderRegistry

    roost("push", bundled, "--registry", tmp_path / "r")
    FolderRegistry(tmp_path / "r").set_tag("twice", 1, "note", "[red]")
    assert "note=[red]" in roost("list", "--registry", tmp_path / "r").text


def test_an_empty_registry_is_said_to_be_empty(roost, tmp_path):
    empty = roost("list", "--registry", tmp_path)
    assert (empty.code, empty.text) == (0, "")
    assert "no model yet" in empty.error
    assert roost("list", "--registry", tmp_path, "--json").document() == []


def test_lineage_meaning_tolerance_and_examples_given_as_files_are_in_the_bundle(roost, onnx_file, tmp_path):
    from registry_client.verify import read_verified

    ones = {"datatype": "FP32", "shape": [1, 3], "contents": [1, 1, 1]}
    files = {
        "lineage": {"data": {"rows": 3}, "code": {}, "parameters": {"rate": 0.1}},
        "meaning": {"x": "metres"},
        "golden": {"format": 1, "examples": [{"inputs": {"x": ones}, "outputs": {}}]},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    flags = [part for name in files for part in (f"--{name}", tmp_path / f"{name}.json")]
    assert roost("bundle", onnx_file, "--name", "twice", "--out", tmp_path / "b", *flags, "--rtol", "0.001").code == 0
    manifest = read_verified(tmp_path / "b").manifest
    assert (manifest.lineage.data, manifest.lineage.parameters) == ({"rows": 3}, {"rate": 0.1})
    assert (manifest.meaning, manifest.tolerance.rtol) == ({"x": "metres"}, 0.001)
    assert read_verified(tmp_path / "b").golden().examples[0].outputs["y"].array.tolist() == [[2.0, 2.0, 2.0]]


def test_examples_that_the_model_does_not_answer_make_no_bundle(roost, onnx_file, tmp_path):
    ones = {"datatype": "FP32", "shape": [1, 3], "contents": [1, 1, 1]}
    (tmp_path / "golden.json").write_text(
        json.dumps({"format": 1, "examples": [{"inputs": {"x": ones}, "outputs": {"y": ones}}]})
    )
    out = tmp_path / "b"
    refused = roost("bundle", onnx_file, "--name", "t", "--out", out, "--golden", tmp_path / "golden.json").refusal()
    assert "golden example 0, output 'y', index [0, 0]: expected 1.0" in refused
    assert not out.exists()


def test_a_zipmap_is_bundled_as_a_tensor_and_said(roost, sklearn_export, tmp_path):
    (tmp_path / "iris.onnx").write_bytes(sklearn_export(True))
    made = roost("bundle", tmp_path / "iris.onnx", "--name", "iris", "--out", tmp_path / "b", "--json")
    assert "ZipMap replaced" in made.error
    assert made.document()["name"] == "iris"
    assert roost("verify", tmp_path / "b").code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("bundle", "absent.onnx", "--name", "t", "--out", "o"), "absent.onnx: No such file"),
        (("bundle", "{b}/golden.json", "--name", "t", "--out", "o"), "expected an ONNX file"),
        (("bundle", "{b}/model.onnx", "--name", "a b", "--out", "o"), "name: expected"),
        (("bundle", "{b}/model.onnx", "--name", "t", "--out", "{b}"), "a new or empty folder"),
        (("bundle", "{b}/model.onnx", "--name", "t", "--out", "o", "--golden-rows", "0"), "1 to 4096"),
        (
            ("bundle", "{b}/model.onnx", "--name", "t", "--out", "o", "--lineage", "{b}/golden.json"),
            "golden.json: data",
        ),
        (("bundle", "{b}/model.onnx", "--name", "t", "--out", "o", "--meaning", "{b}/model.onnx"), "a JSON document"),
        (("verify", "absent"), "a bundle's folder, got nothing there"),
        (("verify", "{b}", "--digest", "0" * 64), "expected digest 0000"),
        (("verify", "{b}", "--digest", "xyz"), "64 lower-case hex digits"),
        (("verify", "twice", "--registry", "absent"), "a registry's folder"),
        (("verify", "twice@canary", "--registry", "{r}"), "an alias of twice (stable), got 'canary'"),
        (("verify", "twice", "--registry", "{r}", "--digest", "0" * 64), "expected digest 0000"),
        (("push", "absent", "--registry", "{r}"), "a bundle's folder"),
        (("push", "{b}", "--registry", "{r}", "--alias", "latest"), "alias: expected"),
        (("push", "{b}", "--registry", "{b}/model.onnx"), "a folder to write in"),
        (("pull", "twice:9", "--registry", "{r}", "--out", "o"), "a version of twice"),
        (("pull", "twice", "--registry", "{r}", "--out", "{b}"), "a new or empty folder"),
        (("list", "absent", "--registry", "{r}"), "one of the registry's models (twice)"),
        (("list", "--registry", "absent"), "a registry's folder"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(roost, bundled, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    assert roost("push", bundled, "--registry", tmp_path / "r", "--alias", "stable").code == 0
    assert expected in roost(*(text.format(b=bundled, r=tmp_path / "r") for text in arguments)).refusal()
    assert not (tmp_path / "o").exists()


def test_a_bundle_that_does_not_answer_its_golden_examples_moves_no_alias(
    roost, bundled, tmp_path, write_bundle_of_doubling
):
    registry = tmp_path / "r"
    before = roost("push", bundled, "--registry", registry, "--alias", "stable", "--json").document()
    signature = read_onnx((bundled / "model.onnx").read_bytes()).signature
    row = np.ones((1, 3), np.float32)
    wrong = make_golden(signature, [({"x": row}, {"y": row})])
    write_bundle_of_doubling(tmp_path / "wrong", name="twice", golden=wrong)
    refused = roost("push", tmp_path / "wrong", "--registry", registry, "--alias", "stable").refusal()
    assert "golden example 0, output 'y'" in refused
    assert roost("list", "--registry", registry, "--json").document() == [before]


def test_damage_in_the_registry_is_found_by_verify_whatever_the_local_cache_holds(roost, bundled, tmp_path):
    digest = roost("push", bundled, "--registry", tmp_path / "r", "--json").document()["digest"]
    assert roost("verify", "twice", "--registry", tmp_path / "r").code == 0
    model = tmp_path / "r" / "bundles" / digest / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    assert "model.onnx: expected sha256" in roost("verify", "twice", "--registry", tmp_path / "r").refusal()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(roost, command):
    assert f"roost {command} " in roost(command, "--help").text.split("Options:")[0].split("\n", 1)[1]


def test_registering_the_commands_loads_neither_onnx_nor_onnx_runtime():
    program = "import sys, server.cli.bundles; print([name for name in ('onnx', 'onnxruntime') if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout == "[]\n"


def test_a_models_name_without_a_registry_is_told_of_the_option(roost: Roost) -> None:
    assert "roost verify twice@stable --registry" in roost("verify", "twice@stable").refusal()
