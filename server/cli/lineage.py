"""`roost lineage`: where a version comes from, what hangs beside it and when it served; and what differs between two.

Used by `application.py`. It fetches (bundle, attachments, a journal's entries) and prints; what it means is
`registry_client/lineage/`'s to say. Always: it changes nothing, neither in the registry nor at the server; standard
output carries the result only, with --json exactly one document.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from registry_client.names import VERSION
from server.addresses import split_address
from server.cli.bundles import JsonOption, check_is_there, open_given_registry, refusals_in_one_line
from server.cli.operators.options import TIMEOUT_S, Look

if TYPE_CHECKING:
    # Imported by the command itself: onnx and jinja2 would slow every other start of `roost`.
    from registry_client.lineage.document import Journal, VersionLineage

JOURNAL_LIMIT: Final = 1000
"""The most that a server gives at once."""
WIDTH_MAX: Final = 100
"""Lines that are longer are hard to read, however wide the terminal."""
_AT_VERSION: Final = re.compile(rf"@({VERSION.pattern})$")


def lineage(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME[@ALIAS|:VERSION]|DIR",
            help="A registry's model, NAME alone is @stable, else the newest; or a bundle's folder.",
            show_default=False,
        ),
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="FOLDER|URI", help="A folder registry, or an MLflow tracking URI.")
    ] = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option("--diff", metavar="A B", help="What differs between two: versions, aliases or folders."),
    ] = None,
    admin: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A running server, for when the version served.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The same from a server's state folder; it may be down.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="To wait for the server's answer.")
    ] = TIMEOUT_S,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with the graph in place of text.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where a version comes from: data, code, parameters, environment, parent, gates, who promoted it, when it
    served.

    \b
    roost lineage churn --registry /srv/models
    roost lineage churn@3 --registry /srv/models --admin 127.0.0.1:8003
    roost lineage churn:3 --registry /srv/models --state /var/lib/roost --html churn-3.html
    roost lineage churn --registry /srv/models --diff 2 3
    roost lineage --diff churn-2.bundle churn-3.bundle
    roost lineage churn.bundle --json

    Promotions and intervals come from a server's journal: without --admin or --state they are said to be unasked. With
    --diff, A and B are versions or aliases of NAME, whole names (churn:3), or folders; what differs is named: which
    load of which table, which file of code, parameter, library, gate or file.
    """
    _check_flags(target, registry, diff, admin, state, html, as_json)
    with refusals_in_one_line(), tempfile.TemporaryDirectory(prefix="roost-") as folder:
        if diff is not None:
            before, after = (_gathered(_side(target, side), registry, Path(folder)) for side in diff)
            _print_difference(before, after, as_json)
            return
        assert target is not None
        found = _gathered(target, registry, Path(folder), _Asked(admin, state, timeout))
        if html is not None:
            _write_page(found, html)
        elif as_json:
            print(json.dumps(found.as_json(), allow_nan=False))
        else:
            from registry_client.lineage.as_text import lineage_lines

            _print(lineage_lines(found, _width()))


@dataclass(frozen=True)
class _Asked:
    """Whose journal to read: a server's, a state folder's, or nobody's."""

    admin: str | None = None
    state: Path | None = None
    timeout_s: float = TIMEOUT_S

    def journal(self, model: str) -> Journal | None:
        """Ends the command, as `roost journal show` does, where there is none to be read."""
        from registry_client.lineage.document import Journal
        from server.cli.operators.admin_port import EXIT_REFUSED, end
        from server.cli.operators.journal import asked, read_state

        if self.state is not None:
            found = read_state(self.state, "", sys.maxsize, "")
            return Journal(tuple(found["entries"]), f"{found['path']}")
        if self.admin is None:
            return None
        found = asked(Look(self.admin, self.timeout_s, as_json=False), model, JOURNAL_LIMIT, "")
        if not found["path"]:
            end(EXIT_REFUSED, f"{self.admin}: expected a server with a journal, got one that serves files only.")
        entries = tuple(found["entries"])
        return Journal(entries, f"the server at {self.admin}", whole=len(entries) < JOURNAL_LIMIT)


def _gathered(text: str, registry: str | None, folder: Path, of: _Asked | None = None) -> VersionLineage:
    """Of what `text` names. folder: for bundles that are fetched, so that no older copy hides damage."""
    from registry_client.cache import BundleCache
    from registry_client.lineage.gathering import of_bundle, of_version
    from registry_client.registry import parse_target
    from registry_client.verify import read_verified

    asked = of or _Asked()
    if registry is None or "/" in text:  # no model's name has one
        check_is_there(text, "roost lineage")
        bundle = read_verified(Path(text))
        return of_bundle(bundle, asked.journal(bundle.manifest.name))
    opened, cache = open_given_registry(registry), BundleCache(folder)
    version = opened.resolve(*parse_target(_AT_VERSION.sub(r":\1", text)))
    return of_version(opened, version, opened.fetch(version, cache), cache, asked.journal(version.name))


def _side(name: str | None, side: str) -> str:
    """One of --diff's two, as a target of its own: with a NAME, `3`, `@stable` and `stable` are that model's."""
    if name is None or "/" in side or any(mark in side[1:] for mark in "@:"):
        return side
    if VERSION.fullmatch(side):
        return f"{name}:{side}"
    return f"{name}@{side.removeprefix('@')}"


def _check_flags(
    target: str | None,
    registry: str | None,
    diff: tuple[str, str] | None,
    admin: str | None,
    state: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Raises BadParameter, which is exit code 2."""
    if target is None and diff is None:
        raise typer.BadParameter("expected a model or a bundle's folder, got none. See --help.", param_hint="NAME|DIR")
    if diff is not None and (html or admin or state):
        raise typer.BadParameter(
            "expected it alone or with --json, got --html, --admin or --state: it compares what versions are made of.",
            param_hint="--diff",
        )
    if diff is not None and target is not None and (registry is None or any(mark in target for mark in "@:/")):
        raise typer.BadParameter(
            f"expected --registry and a model's bare name before it, got {target!r:.80}. Two folders need no name.",
            param_hint="--diff",
        )
    if html is not None and as_json:
        raise typer.BadParameter("expected --html or --json, got both. Run it twice.", param_hint="--html")
    if admin is not None and state is not None:
        raise typer.BadParameter("expected --admin or --state, got both.", param_hint="--state")
    if admin is not None:
        try:
            split_address(admin)
        except ValueError as error:
            raise typer.BadParameter(f"{error}.", param_hint="--admin") from None


def _print_difference(before: VersionLineage, after: VersionLineage, as_json: bool) -> None:
    from registry_client.lineage.as_text import difference_lines
    from registry_client.lineage.document import difference_json
    from registry_client.lineage.gathering import between

    found = between(before, after)
    if as_json:
        print(json.dumps({"name": after.name, **difference_json(found)}, allow_nan=False))
    else:
        _print(difference_lines(after.name, found, _width()))
    for each in (before, after):
        for note in each.damaged:
            print(f"roost: {each.title}: {note.part}: {note.text}", file=sys.stderr)


def _write_page(found: VersionLineage, file: Path) -> None:
    from registry_client.lineage.as_html import page
    from registry_client.placing import place_file

    place_file(file, page(found).encode())
    print(f"{file}: lineage of {found.title}, digest {found.origin.digest}")


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _width() -> int:
    from registry_client.lineage.as_text import WIDTH

    return min(shutil.get_terminal_size().columns, WIDTH_MAX) if sys.stdout.isatty() else WIDTH
