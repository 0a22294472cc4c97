"""Making a bundle: the folder that holds a model, its golden examples, maybe a baseline, and the manifest of them all.

Used by `roost bundle` and by pipelines. Always: the folder appears whole or not at all, and the same arguments make
the same bytes, hence the same digest, on any machine and at any time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from registry_client.baseline.document import BASELINE_FILE, Baseline, read_baseline
from registry_client.baseline.fitting import check_baseline_fits
from registry_client.canonical_json import check_encodable
from registry_client.errors import BadDocument
from registry_client.golden import GOLDEN_BYTES_MAX, Golden, check_fits
from registry_client.manifest import (
    GOLDEN_FILE,
    MODEL_FILE,
    FileEntry,
    Lineage,
    Manifest,
    Tolerance,
    check_file_name,
    check_model_name,
    check_tolerance,
    read_manifest,
    sha256_hex,
)
from registry_client.onnx_model import read_onnx
from registry_client.placing import place_folder
from registry_client.verify import VerifiedBundle


def write_bundle(
    folder: Path,
    *,
    name: str,
    model_bytes: bytes,
    golden: Golden,
    lineage: Lineage | None = None,
    meaning: Mapping[str, Any] | None = None,
    tolerance: Tolerance | None = None,
    class_labels: tuple[str | int, ...] | None = None,
    baseline: Baseline | None = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Make `folder`, which must not exist or be empty, a bundle. Raises UnservableModel or BadDocument.

    The model goes through `read_onnx`: a ZipMap at its end is replaced, and what is bundled is what will be served.
    class_labels: where the graph does not tell them. meaning: plain JSON for readers. baseline: what the model learnt
    from, by bin. extra_files: flat names.
    """
    lineage, meaning = lineage or Lineage(), dict(meaning or {})
    tolerance = check_tolerance(tolerance or Tolerance())
    for part, document in (
        ("lineage.data", lineage.data), ("lineage.code", lineage.code), ("lineage.parameters", lineage.parameters),
        ("meaning", meaning),
    ):  # fmt: skip
        check_encodable(document, part)
    if class_labels is not None:
        check_encodable(list(class_labels), "class_labels")
    model = read_onnx(model_bytes)
    check_fits(golden, model.signature)
    if None not in (class_labels, model.class_labels) and class_labels != model.class_labels:
        raise BadDocument(
            "class_labels",
            expected=f"those that the graph tells, {str(model.class_labels)[:80]}",
            got=str(class_labels)[:80],
            hint="Leave them out; put other words for them into meaning.",
        )
    files = {MODEL_FILE: model.model_bytes, GOLDEN_FILE: golden.to_bytes()}
    if len(files[GOLDEN_FILE]) > GOLDEN_BYTES_MAX:
        raise BadDocument(
            GOLDEN_FILE,
            expected=f"at most {GOLDEN_BYTES_MAX} bytes",
            got=f"{len(files[GOLDEN_FILE])}",
            hint="Keep fewer rows.",
        )
    if baseline is not None:
        # What we write we must accept, as with the manifest below.
        files[BASELINE_FILE] = baseline.to_bytes()
        check_baseline_fits(read_baseline(files[BASELINE_FILE]), model.signature)
    for file_name, content in (extra_files or {}).items():
        if check_file_name(file_name) in files or file_name == BASELINE_FILE:
            raise BadDocument(
                f"extra file {file_name!r}", expected="a name of its own", got="one of ours", hint="Rename it."
            )
        files[file_name] = content
    manifest = Manifest(
        name=check_model_name(name),
        files={file_name: FileEntry(sha256_hex(content), len(content)) for file_name, content in files.items()},
        signature=model.signature,
        class_labels=class_labels if class_labels is not None else model.class_labels,
        tolerance=tolerance,
        lineage=lineage,
        meaning=meaning,
    )
    # What we write we must accept: every limit on a manifest is checked in one place, its reader.
    manifest = read_manifest(manifest.to_bytes())
    unpack_bundle(folder, VerifiedBundle(manifest, manifest.digest, files))
    return manifest


def unpack_bundle(folder: Path, bundle: VerifiedBundle) -> None:
    """Write `bundle` out into `folder`, which must not exist, or be empty."""
    if not place_folder(folder, bundle.all_files()):
        raise _taken(folder)


def check_free(folder: Path) -> None:
    """Raises BadDocument where `unpack_bundle` would find files; for who works long before it is called."""
    if folder.is_dir() and any(folder.iterdir()):
        raise _taken(folder)


def _taken(folder: Path) -> BadDocument:
    return BadDocument(
        f"folder {folder}", expected="a new or empty folder", got="one with files", hint="Choose another or remove it."
    )
