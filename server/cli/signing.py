"""`roost sign`: vouch for a bundle with a private key, for servers and people who have the public one.

Used by `application.py`. Always: what is signed was verified first; the signature lies beside the bundle or the
version, never inside, and takes the place of one by the same key only.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry_client.errors import BadDocument
from server.cli.bundles import JsonOption, check_is_there, fetch, open_given_registry, refusals_in_one_line, say

if TYPE_CHECKING:
    from registry_client.registry import Version
    from registry_client.signing.keys import SigningKey
    from registry_client.verify import VerifiedBundle


def sign(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DIR|NAME[@ALIAS|:VERSION]",
            help="A folder, or with --registry a model; NAME alone is @stable, else the newest.",
        ),
    ],
    key: Annotated[Path, typer.Option(metavar="KEY.pem", help="A P-256 private key, without a passphrase.")],
    registry: Annotated[
        str | None, typer.Option(metavar="FOLDER|URI", help="A folder registry, or an MLflow tracking URI.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.sig", help="Where it goes, in place of beside DIR or the version.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle: its manifest and every file. The signature is attached to the version, or written beside DIR.

    \b
    openssl ecparam -name prime256v1 -genkey -noout -out key.pem
    openssl ec -in key.pem -pubout -out public.pem
    roost sign churn:3 --registry /srv/models --key key.pem
    roost sign churn.bundle --key key.pem
    roost verify churn:3 --registry /srv/models --signer release=public.pem
    """
    with refusals_in_one_line():
        from registry_client.signing.keys import read_signing_key
        from registry_client.signing.signatures import shown
        from registry_client.signing.signatures import sign as make_signature
        from registry_client.verify import read_verified

        signing_key = read_signing_key(key)
        folder = Path(target)
        if out is not None:
            _check_out(out, folder if registry is None else None)
        version = None
        if registry is None:
            check_is_there(target, "roost sign")
            found = read_verified(folder)
        else:
            version, found = fetch(registry, target)
        content = make_signature(found, signing_key)
        if out is not None:
            place = _written(out, content)
        elif registry is None or version is None:
            place = _beside(folder, signing_key, content)
        else:
            place = _attached(registry, version, signing_key, content)
        fingerprint = signing_key.owner.fingerprint
        name = found.manifest.name if version is None else f"{version.name}:{version.version}"
        say(
            as_json,
            f"{name}: signed, digest {found.digest}, by key {shown(fingerprint)}; the signature is {place}",
            {**_subject(found, version), "fingerprint": fingerprint, "signature": place},
        )


def _subject(found: VerifiedBundle, version: Version | None) -> dict[str, str | int]:
    resolved = {} if version is None else {"version": version.version}
    return {"name": found.manifest.name, **resolved, "digest": found.digest}


def _check_out(out: Path, folder: Path | None) -> None:
    """Before anything is signed. Raises BadDocument."""
    if folder is not None and out.resolve().is_relative_to(folder.resolve()):
        raise BadDocument(
            "--out", expected="a file outside of the bundle's folder", got=str(out),
            hint="Inside, it would be a file that the manifest does not name.",
        )  # fmt: skip
    if not out.parent.is_dir() or out.is_dir():
        raise BadDocument("--out", expected="a file in a folder that exists", got=str(out), hint="Check the path.")


def _written(out: Path, content: bytes) -> str:
    from registry_client.placing import place_file

    place_file(out, content)
    return str(out)


def _beside(folder: Path, key: SigningKey, content: bytes) -> str:
    from registry_client.signing.beside import path_beside

    return _written(path_beside(folder, key.owner), content)


def _attached(registry: str, version: Version, key: SigningKey, content: bytes) -> str:
    from registry_client.signing.signatures import signature_name

    name = signature_name(key.owner)
    open_given_registry(registry).attach(version.name, version.version, name, content)
    return name
