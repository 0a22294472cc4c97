"""What a registry is to the rest of Roost: named models with numbered versions, aliases and tags.

`folder.py` is one; others stand behind the same interface. Used by the command line, pipelines and the control plane.
Always: a version's number is never given twice, its digest never changes, and what `fetch` returns has that digest,
whatever the registry's storage holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from registry_client.errors import BadDocument
from registry_client.manifest import check_model_name
from registry_client.names import ALIAS, VERSION

if TYPE_CHECKING:
    from registry_client.attachments import Attachments
    from registry_client.cache import BundleCache
    from registry_client.verify import VerifiedBundle

TAG_CHARACTERS_MAX = 4096

Reference = int | str
"""A version's number (3 or "3"), or an alias ("@stable" or "stable": an alias never looks like a number)."""


@dataclass(frozen=True)
class Version:
    """One version of a model. aliases: those that point at it now."""

    name: str
    version: int
    digest: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]


class Registry(Protocol):
    """Raises NotInRegistry for what is not there, VerificationFailed for what is not what it should be."""

    def push(
        self, folder: Path, name: str | None = None, aliases: Sequence[str] = (), digest: str | None = None
    ) -> Version:
        """Verify the bundle in `folder`, keep it under its manifest's name, and point `aliases` at it.

        A `name` that is not the manifest's is refused, and so is a `digest` that is not the bundle's: give it where the
        bundle was checked before. A digest that the model already has gives the version it has.
        """

    def names(self) -> tuple[str, ...]:
        """All models, sorted."""

    def versions(self, name: str) -> tuple[Version, ...]:
        """All versions of a model, oldest first."""

    def resolve(self, name: str, reference: Reference | None = None) -> Version:
        """The version that `reference` means now; None is @stable where the model has it, else the newest."""

    def fetch(self, version: Version, cache: BundleCache) -> VerifiedBundle:
        """The version's bundle, from the cache where it has it, and verified against the version's digest."""

    def set_alias(self, name: str, alias: str, version: int) -> Version:
        """Point `alias` at a version, and away from the one it pointed at."""

    def remove_alias(self, name: str, alias: str) -> None:
        """Take an alias away; one that the model does not have is left alone."""

    def set_tag(self, name: str, version: int, key: str, value: str | None) -> Version:
        """Set a tag of a version; None removes it."""

    def model_tags(self, name: str) -> Mapping[str, str]:
        """The tags of the model itself."""

    def set_model_tag(self, name: str, key: str, value: str | None) -> None:
        """Set a tag of the model itself; None removes it."""

    def record(self, name: str, aliases: Mapping[str, int | None], tags: Mapping[str, str]) -> None:
        """Point aliases at versions, None takes one away, and set tags of the model itself.

        In one step where the registry has such a thing; else in this order, so that no tag tells of an alias that is
        yet to move.
        """

    def attach(self, name: str, version: int, file_name: str, content: bytes) -> None:
        """Keep a file beside a version, outside its digest, in place of one of the same name.

        Raises BadDocument for a name with a folder in it or more than ATTACHMENT_BYTES_MAX, RegistryRefused for one
        file too many.
        """

    def attachments(self, name: str, version: int) -> Attachments:
        """The files beside a version, by name. Nothing vouches for them."""


def parse_target(text: str) -> tuple[str, Reference | None]:
    """`NAME`, `NAME@ALIAS` or `NAME:VERSION` as people write it. Raises BadDocument."""
    name, at, alias = text.partition("@")
    if at:
        return check_model_name(name, "model"), f"@{check_alias(alias)}"
    name, colon, version = text.partition(":")
    check_model_name(name, "model")
    if not colon:
        return name, None
    if not VERSION.fullmatch(version):
        raise BadDocument("version", expected="a number from 1", got=repr(version[:40]), hint=f"Like {name}:3.")
    return name, int(version)


def read_reference(reference: Reference) -> Reference:
    """An int for a version, the bare alias otherwise. Raises BadDocument for what can be neither."""
    if isinstance(reference, int):
        return reference
    if VERSION.fullmatch(reference):
        return int(reference)
    return check_alias(reference.removeprefix("@"))


def check_alias(alias: str) -> str:
    if not ALIAS.fullmatch(alias):
        raise BadDocument(
            "alias",
            expected="1 to 63 of a-z, 0-9, '_' or '-', and neither 'latest' nor a number like 3 or v3",
            got=repr(alias[:80]),
            hint="Usual ones are stable and canary.",
        )
    return alias


def check_tag(key: str, value: str | None) -> None:
    if not 1 <= len(key) <= 250 or not key.isprintable():
        raise BadDocument(
            "tag", expected="a key of 1 to 250 printable characters", got=repr(key[:80]), hint="Shorten it."
        )
    if value is not None and len(value) > TAG_CHARACTERS_MAX:
        raise BadDocument(
            f"tag {key!r}", expected=f"at most {TAG_CHARACTERS_MAX} characters", got=f"{len(value)}", hint="Shorten it."
        )
