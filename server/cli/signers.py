"""Who is to have signed a bundle, as `roost verify` is told, and who has.

Always: without signers nothing is asked, and no library for it is imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry_client.errors import BadDocument
from server.cli.given_files import read_file

if TYPE_CHECKING:
    from registry_client.registry import Version
    from registry_client.signing.keys import Signer
    from registry_client.verify import VerifiedBundle

DIGEST_SHOWN = 12

SignerOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PUBLIC.pem", help="Refuse what is not signed by this key, or by another one given; repeatable."
    ),
]
SignatureOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The signature, where it is neither beside DIR nor attached to the version."),
]


def read_asked(signers: list[str] | None, signature: Path | None) -> tuple[Signer, ...]:
    """The keys that count; none where nobody asks. Raises ArtifactError."""
    if not signers and signature is not None:
        raise BadDocument(
            "--signature", expected="--signer NAME=PUBLIC.pem beside it", got="none",
            hint="Without a key that you trust, a signature says nothing.",
        )  # fmt: skip
    if not signers:
        return ()
    from registry_client.signing.keys import read_signers

    return read_signers(signers, "--signer")


def who_signed(
    bundle: VerifiedBundle, signers: tuple[Signer, ...], place: Path | tuple[str, Version], signature: Path | None
) -> list[str]:
    """Their names, one at least where any is asked for. place: the bundle's folder, or its registry and version.

    Raises SignatureRefused.
    """
    if not signers:
        return []
    from registry_client.signing.signatures import signed_by

    what = str(place) if isinstance(place, Path) else f"{place[1].name}:{place[1].version}"
    found = _signatures(place, signature)
    signed = signed_by(bundle, found, signers, f"{what} (digest {bundle.digest[:DIGEST_SHOWN]})")
    return [one.signer.name for one in signed]


def _signatures(place: Path | tuple[str, Version], signature: Path | None) -> dict[str, bytes]:
    """By name."""
    from registry_client.opening import open_registry
    from registry_client.signing.beside import signatures_beside
    from registry_client.signing.signatures import SIGNATURE_BYTES_MAX
    from registry_client.signing.vouching import signatures_in

    if signature is not None:
        return {signature.name: read_file(signature, SIGNATURE_BYTES_MAX)}
    if isinstance(place, Path):
        return signatures_beside(place)
    registry, version = place
    return signatures_in(open_registry(registry, must_exist=True).attachments(version.name, version.version))
