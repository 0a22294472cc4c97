"""Vouching: whether a version's bundle is signed by somebody who counts, as a server asks it before it loads one.

Signatures come from the cache, else from what is attached to the version; one that vouched is kept in the cache beside
the bundle, so that a start with the registry down works. Always: a kept signature is checked again each time, as the
bundle is, against the keys that count now.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry_client.attachments import Attachments
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, BadDocument, SignatureRefused, VerificationFailed
from registry_client.signing.keys import Signer, read_signers
from registry_client.signing.signatures import SIGNATURE_BYTES_MAX, is_signature_name, signature_name, signed_by
from registry_client.verify import VerifiedBundle

log = logging.getLogger("roost.registry_client")

SETTING = "registry.signers"
DIGEST_SHOWN = 12


@dataclass(frozen=True)
class Vouching:
    """For one cache. Blocks; safe between threads."""

    signers: tuple[Signer, ...]
    cache: BundleCache

    def signer_of(self, bundle: VerifiedBundle, version: str, attachments: Callable[[], Attachments]) -> Signer:
        """Who has signed the bundle. version: the registry's number. attachments: asked where the cache has none.

        Raises SignatureRefused, and what `attachments` raises.
        """
        what = f"{bundle.manifest.name}:{version} (digest {bundle.digest[:DIGEST_SHOWN]})"
        kept = self.cache.attachments.of(bundle.digest)
        with contextlib.suppress(SignatureRefused):  # what is refused is what the registry has now: it may be newer
            return signed_by(bundle, signatures_in(kept), self.signers, what)[0].signer
        found = signatures_in(attachments())
        signed = signed_by(bundle, found, self.signers, what)[0]
        self._keep(bundle.digest, signed.signer, found[signed.signature])
        return signed.signer

    def _keep(self, digest: str, signer: Signer, signature: bytes) -> None:
        """Under a name of ours: what the registry calls it says nothing."""
        try:
            self.cache.attachments.put(digest, signature_name(signer), signature)
        except (ArtifactError, OSError) as error:
            # It vouches all the same; a start with the registry down would have to do without it.
            log.warning("a signature was not kept in the cache: %s", error)


def open_vouching(signers: Iterable[str], cache: BundleCache) -> Vouching:
    """signers: `NAME=FILE`, of public keys. Raises BadKey."""
    return Vouching(read_signers(signers, SETTING), cache)


def signatures_in(attachments: Attachments) -> dict[str, bytes]:
    """By name. What is too large to be one is left out, and logged: the others count all the same."""
    found = {}
    for name in filter(is_signature_name, attachments):
        try:
            found[name] = attachments.read(name, SIGNATURE_BYTES_MAX)
        except (VerificationFailed, BadDocument) as error:
            log.warning("a signature is left out: %s", error)
    return found
