"""`roost journal show` and `verify`: what was decided, by whom and why, and whether the record is whole.

Both ask the server, or read its state folder without it. Always: a journal in which a line was edited, removed, moved
or cut off is exit code 1 with the number of the line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from server.cli.operators.options import Look, looks
from server.lifecycle.explain import share, told
from server.lifecycle.journal import BrokenJournal, Head, Line, read, repaired, serving_at, verify

FILE = "journal.jsonl"
LIMIT = 100
WITHOUT_SERVER = "Is the server up? With --state and its lifecycle.state folder, the files are read without it."

app = typer.Typer(help="The record of every decision.", no_args_is_help=True, rich_markup_mode=None)

StateOption = Annotated[
    Path | None,
    typer.Option("--state", metavar="FOLDER", help="Read this state folder; the server may be down."),
]


@app.command("show")
@looks()
def show(
    look: Look,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", show_default=False, help="This model's only; none: all.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="The newest N.")] = LIMIT,
    at: Annotated[
        str,
        typer.Option(
            "--at", metavar="UTC", show_default=False, help="What served at this moment: 2026-01-31T14:03:00Z."
        ),
    ] = "",
    state: StateOption = None,
) -> None:
    """Show what was decided, oldest first, or what was served at a moment.

    \b
    roost journal show churn --limit 20
    roost journal show churn --at 2026-01-31T14:03:00Z
    roost journal show --state /var/lib/roost
    """
    found = asked(look, model, limit, at) if state is None else read_state(state, model, limit, at)
    if look.as_json:
        from server.cli.operators.documents import print_json

        print_json(found)
        return
    if at:
        for one in found["served"]:
            print(_served_text(one))
        if not found["served"]:
            print(f"The journal knows nothing of {model or 'any model'} at {at}.")
        return
    for entry in found["entries"]:
        print(f"{entry['number'] or 'pending':>6}  {entry['model']}  revision {entry['revision']}  {entry['told']}")
    if found["pending"]:
        print(f"{found['pending']} more are not on disk yet.")


@app.command("verify")
@looks()
def verify_journal(
    look: Look,
    state: StateOption = None,
    head: Annotated[
        str,
        typer.Option(
            "--head", metavar="N:DIGEST", show_default=False, help="A head kept elsewhere, that must be a line of it."
        ),
    ] = "",
) -> None:
    """Check that no line of the journal was edited, removed, moved or cut off. Without --state, the server's own file.

    \b
    roost journal verify
    roost journal verify --state /var/lib/roost --head 214:9f2c...
    """
    anchor = _read_head(head) if head else None
    if state is not None:
        file = state / FILE
    else:
        file, told_head = _place(look)
        # What the server says it has written must be there; a head of the operator's own is the stronger one.
        anchor = anchor or told_head
    data, torn = repaired(_bytes_of(file))
    try:
        found = verify(data, anchor)
    except BrokenJournal as broken:
        _refused(f"{file}: {broken}.")
    if look.as_json:
        from server.cli.operators.documents import print_json

        print_json({"path": str(file), "entries": found.number, "head": str(found), "unfinished_line": torn})
        return
    print(f"{file}: whole, {found.number} entries, head {found}")
    if torn:
        print("A last line is unfinished, as a crash leaves it: the server cuts it off when it writes again.")


def asked(look: Look, model: str, limit: int, at: str) -> dict[str, Any]:
    """What the server's journal has: what `roost journal show --json` prints."""
    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected
    from server.cli.operators.documents import document

    with connected(look, WITHOUT_SERVER) as port:
        reply = port.ask("GetJournal", admin_pb2.GetJournalRequest(model=model, limit=limit, at_utc=at))
    return {
        "entries": [_shown(entry.number, _entry_of(entry.line)) for entry in reply.entries],
        "head": reply.head,
        "pending": reply.pending,
        "path": reply.path,
        "served": [document(served) for served in reply.served],
    }


def read_state(folder: Path, model: str, limit: int, at: str) -> dict[str, Any]:
    """The same from the file of a state folder."""
    file = folder / FILE
    try:
        lines = tuple(read(repaired(_bytes_of(file))[0]))
    except BrokenJournal as broken:
        _refused(f"{file}: {broken}. Nothing after it can be relied on.")
    models = dict.fromkeys(str(line.entry.get("model", "")) for line in lines)
    if model and model not in models:
        _refused(f"model: expected one that the journal knows ({', '.join(models) or 'none'}), got {model!r}.")
    wanted = [model] if model else list(models)
    entries = [_shown(line.number, line.entry) for line in lines if line.entry.get("model") in wanted]
    head = f"{lines[-1].number}:{lines[-1].digest}" if lines else ""
    served = [one for name in wanted if (one := _served_at(lines, name, at)) is not None] if at else []
    return {"entries": entries[-limit:], "head": head, "pending": 0, "path": str(file), "served": served}


def _served_at(lines: tuple[Line, ...], model: str, at: str) -> dict[str, Any] | None:
    try:
        entry = serving_at(lines, model, at)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error
    if entry is None:
        return None
    then = entry["to"]
    return {
        "model": model,
        "revision": entry.get("revision", 0),
        "stable": then.get("stable"),
        "canary": then.get("canary"),
        "weight_ppm": then.get("weight_ppm", 0),
    }


def _served_text(served: dict[str, Any]) -> str:
    stable, canary = served["stable"], served["canary"]
    text = f"{served['model']}: revision {served['revision']}, "
    text += f"stable version {stable['version']} ({stable['digest'][:12]})" if stable else "nothing was served"
    if canary:
        text += f", canary version {canary['version']} ({canary['digest'][:12]}) with {share(served['weight_ppm'])}"
    return text


def _shown(number: int, entry: Any) -> dict[str, Any]:
    """An entry with its number and its sentence. number: 0 for one that is not on disk yet."""
    return {"number": number, "told": told(entry), **entry}


def _entry_of(line: str) -> Any:
    content = json.loads(line)
    return content.get("entry", content)


def _place(look: Look) -> tuple[Path, Head | None]:
    """Where the server's journal lies, and the head that it knows."""
    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected

    with connected(look, WITHOUT_SERVER) as port:
        reply = port.ask("GetJournal", admin_pb2.GetJournalRequest(limit=1))
    if not reply.path:
        _refused(f"{look.admin}: expected a server with a journal, got one that keeps none: it serves files only.")
    return Path(reply.path), _read_head(reply.head) if reply.head else None


def _read_head(text: str) -> Head:
    from server.control.journal_mark import read_mark

    mark = read_mark(text)  # the registry's tag is taken as it is
    if mark is None:
        raise typer.BadParameter(
            f"expected a line's number, a colon and 64 digits, got {text!r:.80}.", param_hint="--head"
        )
    return mark.head


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        hint = "On another machine: copy it here, and give its folder with --state."
        _refused(f"{file}: expected a journal, got {(error.strerror or str(error)).lower()}. {hint}")


def _refused(text: str) -> NoReturn:
    from server.cli.operators.admin_port import EXIT_REFUSED, end

    end(EXIT_REFUSED, text)
