"""docs/reference/bundle.md says what the code does: files, keys, datatypes, commands, flags, limits, examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
import typer.main

from registry_client import attachments, folder, manifest, registry
from registry_client.baseline.document import BASELINE_BYTES_MAX, BASELINE_FILE
from registry_client.golden import GOLDEN_BYTES_MAX, read_golden
from registry_client.manifest import read_lineage
from registry_client.onnx_model import MODEL_BYTES_MAX
from registry_client.signing.signatures import FINGERPRINT_SHOWN, SIGNATURE_BYTES_MAX
from registry_client.tensors import Datatype
from registry_client.verify import read_verified
from server.cli.bundles import register
from server.cli.signing import sign

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "bundle.md").read_text()


def rows(section: str) -> dict[str, str]:
    """First cell to the rest of its row, in the section's tables."""
    body = PAGE.split(f"## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| (.+) \|$", body, re.MULTILINE)
    return {
        first.replace("`", ""): rest for first, rest in found if first not in ("---", "file", "key", "command", "what")
    }


def examples() -> list[object]:
    return [json.loads(text) for text in re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)]


def test_every_file_of_a_bundle_is_on_the_page(sound_bundle):
    own = {path.name for path in sound_bundle.iterdir()} - {"card.md"}
    assert rows("Files").keys() == own | {BASELINE_FILE, "others"}


def test_every_key_of_the_manifest_is_on_the_page(sound_bundle):
    assert rows("manifest.json").keys() == json.loads((sound_bundle / "manifest.json").read_bytes()).keys()


def test_every_datatype_is_on_the_page():
    assert list(re.findall(r"`([A-Z0-9]+)`", PAGE.split("Datatypes are")[1].split("\n\n")[0])) == [
        datatype.name for datatype in Datatype
    ]


def test_the_examples_on_the_page_are_read():
    golden, lineage = examples()
    assert read_golden(json.dumps(golden).encode()).examples[0].inputs["x"].array.shape == (2, 3)
    assert read_lineage(lineage, "page").data["rows"] == 68785


def commands() -> dict[str, set[str]]:
    app = typer.Typer(add_completion=False)
    register(app)
    app.command("sign")(sign)
    group = typer.main.get_command(app)
    return {
        name: {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("name", commands())
def test_a_command_is_on_the_page_with_its_flags_and_no_others(name):
    told = " ".join(first + rest for first, rest in rows("Commands").items() if first.startswith(f"roost {name} "))
    assert set(re.findall(r"--[a-z-]+", told)) == commands()[name] - {"--json", "--help"}


def test_the_limits_on_the_page_are_those_of_the_code():
    told = {
        what: [int(number.replace(",", "")) for number in re.findall(r"[0-9][0-9,]*", rest)]
        for what, rest in rows("Limits").items()
    }
    assert told == {
        "manifest.json": [manifest.MANIFEST_BYTES_MAX],
        "golden.json": [GOLDEN_BYTES_MAX],
        "baseline.json": [BASELINE_BYTES_MAX],
        "one file": [manifest.FILE_BYTES_MAX],
        "all files of a bundle": [manifest.BUNDLE_BYTES_MAX],
        "files in the manifest": [manifest.FILES_MAX],
        "a file beside a version": [attachments.ATTACHMENT_BYTES_MAX],
        "files beside a version": [attachments.ATTACHMENTS_MAX],
        "a signature": [SIGNATURE_BYTES_MAX],
        "a tag": [250, registry.TAG_CHARACTERS_MAX],
        "a model's index in the folder registry": [folder.INDEX_BYTES_MAX],
    }
    assert f"{MODEL_BYTES_MAX:,} bytes" in PAGE
    assert f"`KEY` the first {FINGERPRINT_SHOWN} digits of the public key's fingerprint" in PAGE
    assert f"at most {manifest.FILES_MAX - len(manifest.REQUIRED_FILES)} files of your own" in PAGE


def test_the_digest_is_what_the_page_says_it_is(sound_bundle):
    import hashlib

    assert (
        read_verified(sound_bundle).digest == hashlib.sha256((sound_bundle / "manifest.json").read_bytes()).hexdigest()
    )
