"""Signatures of a bundle's folder that is in no registry: files beside it, never inside, where none would be allowed.

    PARENT/NAME                         the bundle
    PARENT/NAME.signature-KEY.json      a signature of it

Used by `roost sign` and `roost verify`.
"""

from __future__ import annotations

import os
from pathlib import Path

from registry_client.attachments import ATTACHMENTS_MAX
from registry_client.signing.keys import Signer
from registry_client.signing.signatures import SIGNATURE_BYTES_MAX, is_signature_name, signature_name
from registry_client.verify import read_regular


def path_beside(folder: Path, signer: Signer) -> Path:
    """Where the signer's signature of the bundle in `folder` belongs."""
    folder = folder.resolve()
    return folder.parent / f"{folder.name}.{signature_name(signer)}"


def signatures_beside(folder: Path) -> dict[str, bytes]:
    """By name; the first ATTACHMENTS_MAX. Raises VerificationFailed for what can be none: a link, a FIFO, too large."""
    folder = folder.resolve()
    prefix = f"{folder.name}."
    descriptor = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = (name for name in os.listdir(descriptor) if name.startswith(prefix))
        names = sorted(name for name in found if is_signature_name(name.removeprefix(prefix)))
        return {name: read_regular(descriptor, name, SIGNATURE_BYTES_MAX) for name in names[:ATTACHMENTS_MAX]}
    finally:
        os.close(descriptor)
