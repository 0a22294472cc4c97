"""The MLflow registry: a `Registry` behind MLflow's own, on SQLite with local artifacts or on any tracking server.

Opened through `opening.py`. A bundle's files are artifacts of a run, its digest is the version's tag DIGEST_TAG.
Nothing that MLflow stores is trusted: a registered version's files can be overwritten, so that what `fetch` returns was
hashed against the digest, and an alias that somebody else has moved is refused. Never `mlflow.pyfunc`.
Always: whatever MLflow or its store raises comes out as an ArtifactError.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from registry_client.attachments import ATTACH_ANEW, Attachments, check_attachment, check_room, checked_names
from registry_client.cache import BundleCache
from registry_client.errors import (
    BadDocument,
    NotInRegistry,
    NotOurs,
    RegistryRefused,
    VerificationFailed,
)
from registry_client.manifest import check_digest, check_model_name, is_model_name
from registry_client.mlflow_artifacts import ArtifactFolder
from registry_client.mlflow_failures import MISSING, asked, check_database
from registry_client.names import USUAL_ALIAS
from registry_client.placing import place_folder
from registry_client.registry import Reference, Version, check_alias, check_tag, read_reference
from registry_client.tracking_uri import database_file, is_tracking_uri, without_passwords
from registry_client.verify import VerifiedBundle, read_verified

log = logging.getLogger("roost.registry_client")

DIGEST_TAG: Final = "roost.digest"
ALIAS_TAG: Final = "roost.alias."
"""Of the model, with an alias behind it: the digest that the alias was pointed at. MLflow's own is the other record."""
EXPERIMENT: Final = "roost"
BUNDLE_FOLDER: Final = "bundle"
ATTACHMENT_FOLDER: Final = "beside"
"""Of the version's run, as the bundle's is."""
PAGE: Final = 100
MOVED_S_MAX: Final = 2.0
MOVED_POLL_S: Final = 0.1
EXISTS: Final = "RESOURCE_ALREADY_EXISTS"


class MlflowRegistry:
    """A `Registry` under a tracking URI. Safe between threads and processes as far as MLflow's store is."""

    def __init__(self, tracking_uri: str, *, must_exist: bool = False) -> None:
        if not is_tracking_uri(tracking_uri):
            raise RegistryRefused(
                "registry", expected="a URI like sqlite:///mlflow.db or http://host:5000", got=repr(tracking_uri[:80]),
                hint="Give a folder's path for a folder registry.",
            )  # fmt: skip
        self._uri, self._shown = tracking_uri, without_passwords(tracking_uri)
        self._spoilt: set[tuple[str, str]] = set()  # versions that were logged
        database = database_file(tracking_uri)
        if must_exist and database is not None and not database.exists():
            raise RegistryRefused(
                "registry",
                expected="a database",
                got=f"none at {database}",
                hint="roost push makes one; check the path.",
            )
        with self._asked("open"):
            check_database(tracking_uri)
            self._client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

    def push(
        self, folder: Path, name: str | None = None, aliases: Sequence[str] = (), digest: str | None = None
    ) -> Version:
        for alias in aliases:
            check_alias(alias)
        bundle = read_verified(folder, digest)
        own = bundle.manifest.name
        if name not in (None, own):
            raise RegistryRefused(
                f"bundle {folder}", expected=f"one of model {name}", got=f"one of {own}",
                hint="Push it under its own name, or bundle it anew under the other.",
            )  # fmt: skip
        with self._asked(f"take a version of {own}"):
            self._make_model(own)
            found = next((version for version in self._versions(own) if version.digest == bundle.digest), None)
            number = self._log(bundle) if found is None else found.version
        for alias in aliases:
            self.set_alias(own, alias, number)
        return self.resolve(own, number)

    def names(self) -> tuple[str, ...]:
        found: list[str] = []
        token = None
        with self._asked("list models"):
            while True:
                page = self._client.search_registered_models(max_results=PAGE, page_token=token)
                # Others' models may be called anything: what Roost can't name, it can't serve.
                found += [model.name for model in page if is_model_name(model.name)]
                token = page.token
                if not token:
                    return tuple(sorted(found))

    def versions(self, name: str) -> tuple[Version, ...]:
        with self._asked(f"list versions of {name}"):
            self._model(name)
            return tuple(self._versions(name))

    def resolve(self, name: str, reference: Reference | None = None) -> Version:
        with self._asked(f"find {name}"):
            model = self._model(name)
            meant = USUAL_ALIAS if reference is None and USUAL_ALIAS in model.aliases else reference
            if meant is None:
                versions = self._versions(name)
                if not versions:
                    raise self._no_version(name)
                return versions[-1]
            meant = read_reference(meant)
            return self._by_alias(name, meant) if isinstance(meant, str) else self._by_number(name, meant)

    def fetch(self, version: Version, cache: BundleCache) -> VerifiedBundle:
        bundle = cache.fetch(version.digest, lambda: self._download(version))
        if bundle.manifest.name != version.name:
            raise VerificationFailed(
                f"{version.name}:{version.version}",
                expected=f"a bundle of model {version.name}",
                got=f"one of {bundle.manifest.name}, digest {version.digest}",
                hint=f"Somebody has set another model's {DIGEST_TAG}: register the version anew.",
            )
        return bundle

    def set_alias(self, name: str, alias: str, version: int) -> Version:
        check_alias(alias)
        with self._asked(f"set an alias of {name}"):
            pointed = self._by_number(name, version)
            # The tag first: an alias without its tag would be refused, a tag without its alias says nothing. Between
            # the two they name different versions, which `_by_alias` waits out.
            self._client.set_registered_model_tag(name, ALIAS_TAG + alias, pointed.digest)
            self._client.set_registered_model_alias(name, alias, str(version))
            return self._by_number(name, version)

    def remove_alias(self, name: str, alias: str) -> None:
        check_alias(alias)
        with self._asked(f"remove an alias of {name}"):
            model = self._model(name)
            if alias in model.aliases:
                self._client.delete_registered_model_alias(name, alias)
            if ALIAS_TAG + alias in model.tags:
                self._client.delete_registered_model_tag(name, ALIAS_TAG + alias)

    def set_tag(self, name: str, version: int, key: str, value: str | None) -> Version:
        check_tag(key, value)
        if key == DIGEST_TAG:
            raise RegistryRefused(
                f"tag {key}",
                expected="another key",
                got="the one that names the content",
                hint="Push a bundle.",
            )
        with self._asked(f"set a tag of {name}:{version}"):
            had = self._by_number(name, version)
            if value is not None:
                self._client.set_model_version_tag(name, str(version), key, value)
            elif key in had.tags:
                self._client.delete_model_version_tag(name, str(version), key)
            return self._by_number(name, version)

    def model_tags(self, name: str) -> Mapping[str, str]:
        with self._asked(f"read tags of {name}"):
            tags = self._model(name).tags
            return {key: text for key, text in tags.items() if not key.startswith(ALIAS_TAG)}

    def set_model_tag(self, name: str, key: str, value: str | None) -> None:
        check_tag(key, value)
        with self._asked(f"set a tag of {name}"):
            model = self._model(name)
            if value is not None:
                self._client.set_registered_model_tag(name, key, value)
            elif key in model.tags:
                self._client.delete_registered_model_tag(name, key)

    def record(self, name: str, aliases: Mapping[str, int | None], tags: Mapping[str, str]) -> None:
        for alias, number in aliases.items():
            self.remove_alias(name, alias) if number is None else self.set_alias(name, alias, number)
        for key, value in tags.items():
            self.set_model_tag(name, key, value)

    def attach(self, name: str, version: int, file_name: str, content: bytes) -> None:
        check_attachment(file_name, content)
        with self._asked(f"attach {file_name} to {name}:{version}"):
            run_id, folder = self._beside(name, version)
            # Nothing keeps another client from attaching between this look and the writing: who reads is bounded, too.
            check_room(file_name, checked_names(folder.names(), f"{name}:{version}"))
            with tempfile.TemporaryDirectory(prefix="roost-attach-") as scratch:
                (Path(scratch) / file_name).write_bytes(content)
                self._client.log_artifact(run_id, str(Path(scratch) / file_name), ATTACHMENT_FOLDER)

    def attachments(self, name: str, version: int) -> Attachments:
        what = f"{name}:{version}"
        with self._asked(f"list what is attached to {what}"):
            _, folder = self._beside(name, version)
            names = checked_names(folder.names(), what)

        def read(file_name: str, bytes_max: int) -> bytes:
            with self._asked(f"give {file_name}, attached to {what}"):
                return folder.read_file(file_name, bytes_max)

        return Attachments(names, read)

    def read_foreign_file(self, name: str, number: int, file: str, bytes_max: int) -> bytes:
        """A file of a version that somebody else logged. Nothing vouches for it."""
        what = f"models:/{name}/{number}"
        with self._asked(f"give {file} of {what}"):
            if DIGEST_TAG in self._client.get_model_version(name, str(number)).tags:
                raise RegistryRefused(
                    what, expected="a version that Roost did not make", got=f"one with the tag {DIGEST_TAG}",
                    hint=f"It is served as it is: roost serve --model {name}:{number}.",
                )  # fmt: skip
            return self._files(name, number, what).read_file(file, bytes_max)

    # --- What MLflow has ----------------------------------------------------------------------------------------
    def _model(self, name: str) -> Any:
        check_model_name(name)
        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
            known = ", ".join(self.names()[:20]) or "none"
            raise NotInRegistry(
                f"model {name!r}", expected=f"one of the registry's models ({known})", got="another",
                hint=f"Push it: roost push DIR --registry {self._shown}.",
            ) from None  # fmt: skip

    def _versions(self, name: str) -> list[Version]:
        """Those that have a digest, oldest first; without those whose digest is none."""
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(f"name='{name}'", max_results=PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                break
        aliases = self._client.get_registered_model(name).aliases if found else {}
        entries = [entry for entry in found if DIGEST_TAG in entry.tags and entry.name == name]
        versions = [version for entry in entries if (version := self._listed(entry, aliases)) is not None]
        return sorted(versions, key=lambda version: version.version)

    def _listed(self, entry: Any, aliases: Mapping[str, str]) -> Version | None:
        """None for a version whose tag anybody has spoilt: the others are no worse for it. Logged once."""
        try:
            return _version(entry, aliases)
        except BadDocument as error:
            if (entry.name, entry.version) not in self._spoilt:
                self._spoilt.add((entry.name, entry.version))
                log.warning("a version is left out of what the registry lists: %s", error)
            return None

    def _by_number(self, name: str, number: int) -> Version:
        try:
            entry = self._client.get_model_version(name, str(number))
        except MlflowException as error:
            if error.error_code != MISSING:
                raise
            known = ", ".join(str(version.version) for version in self._versions(name)[-10:]) or "none"
            raise NotInRegistry(
                f"{name}:{number}", expected=f"a version of {name} (newest: {known})", got=f"{number}",
                hint=f"roost list --registry {self._shown} shows them.",
            ) from None  # fmt: skip
        if DIGEST_TAG not in entry.tags:
            raise NotOurs(
                f"{name}:{number}", expected=f"a version with the tag {DIGEST_TAG}", got="one that Roost did not make",
                hint=f"Make a verified bundle of it: roost adopt models:/{name}/{number} --registry {self._shown}.",
            )  # fmt: skip
        version = _version(entry, self._client.get_registered_model(name).aliases)
        if (version.name, version.version) != (name, number):
            raise VerificationFailed(
                f"{name}:{number}", expected="the registry to speak of it", got=f"{version.name}:{version.version}",
                hint="Do not use this registry: it answers what it was not asked.",
            )  # fmt: skip
        return version

    def _by_alias(self, name: str, alias: str) -> Version:
        """Where tag and alias disagree it is somebody who moves it just now, so long as it does not last."""
        deadline = time.monotonic() + MOVED_S_MAX
        while True:
            try:
                return self._pointed_at(self._model(name), alias)
            except VerificationFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(MOVED_POLL_S)

    def _pointed_at(self, model: Any, alias: str) -> Version:
        if alias not in model.aliases:
            known = ", ".join(sorted(model.aliases)) or "none"
            raise NotInRegistry(
                f"{model.name}@{alias}", expected=f"an alias of {model.name} ({known})", got=repr(alias),
                hint=f"Set it: roost push DIR --alias {alias}.",
            )  # fmt: skip
        version = self._by_number(model.name, int(model.aliases[alias]))
        recorded = model.tags.get(ALIAS_TAG + alias, version.digest)
        if recorded != version.digest:
            raise VerificationFailed(
                f"{model.name}@{alias}",
                expected=f"digest {recorded}, at which Roost pointed the alias",
                got=f"digest {version.digest} of version {version.version}: somebody else has moved the alias",
                hint=f"Check which version it should mean, then push that one again with --alias {alias}.",
            )
        return version

    def _no_version(self, name: str) -> NotInRegistry:
        return NotInRegistry(
            f"model {name!r}", expected=f"a version with the tag {DIGEST_TAG}", got="none",
            hint=f"Push one, or adopt one: roost adopt models:/{name}/1 --registry {self._shown}.",
        )  # fmt: skip

    # --- Putting and getting ------------------------------------------------------------------------------------
    def _make_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != EXISTS:
                raise

    def _log(self, bundle: VerifiedBundle) -> int:
        """The bytes that were verified become a run's artifacts and a version; its number."""
        name = bundle.manifest.name
        run = self._client.create_run(self._experiment(), run_name=f"{name} {bundle.digest[:12]}")
        try:
            with tempfile.TemporaryDirectory(prefix="roost-push-") as folder:
                files = Path(folder) / BUNDLE_FOLDER
                place_folder(files, bundle.all_files())
                self._client.log_artifacts(run.info.run_id, str(files), BUNDLE_FOLDER)
        except BaseException:
            self._client.set_terminated(run.info.run_id, "FAILED")
            raise
        self._client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/{BUNDLE_FOLDER}"
        tags = {DIGEST_TAG: bundle.digest}
        made = self._client.create_model_version(name, source, run.info.run_id, tags=tags)
        return int(made.version)

    def _experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        try:
            return str(self._client.create_experiment(EXPERIMENT, artifact_location=self._artifact_location()))
        except MlflowException as error:
            if error.error_code != EXISTS:
                raise
            made = self._client.get_experiment_by_name(EXPERIMENT)
            if made is None:
                raise
            return str(made.experiment_id)

    def _artifact_location(self) -> str | None:
        """Beside an embedded database; a server says itself where its artifacts are."""
        path = database_file(self._uri)
        return None if path is None else (path.absolute().parent / "artifacts").as_uri()

    def _download(self, version: Version) -> VerifiedBundle:
        what = f"{version.name}:{version.version}"
        with self._asked(f"give the files of {what}"):
            return self._files(version.name, version.version, what).read_bundle(version.digest)

    def _files(self, name: str, number: int, what: str) -> ArtifactFolder:
        return ArtifactFolder(self._client.get_model_version_download_uri(name, str(number)), self._uri, what)

    def _beside(self, name: str, number: int) -> tuple[str, ArtifactFolder]:
        """The version's run, and the folder of it that holds what is attached."""
        self._model(name)
        self._by_number(name, number)
        run_id = self._client.get_model_version(name, str(number)).run_id
        if not run_id:
            raise RegistryRefused(
                f"{name}:{number}", expected="a version of a run, whose artifacts can hold what is attached",
                got="one without", hint="Remove it from MLflow and push its bundle again: Roost gives it a run.",
            )  # fmt: skip
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{ATTACHMENT_FOLDER}"
        return run_id, ArtifactFolder(source, self._uri, f"attached to {name}:{number}", ATTACH_ANEW)

    def _asked(self, what: str) -> AbstractContextManager[None]:
        return asked(self._shown, what)


def _version(entry: Any, aliases: Mapping[str, str]) -> Version:
    number = int(entry.version)
    digest = check_digest(entry.tags[DIGEST_TAG], f"{entry.name}:{number}: tag {DIGEST_TAG}")
    pointing = tuple(sorted(alias for alias, pointed in aliases.items() if int(pointed) == number))
    tags = {key: text for key, text in entry.tags.items() if key != DIGEST_TAG}
    return Version(entry.name, number, digest, pointing, tags)
