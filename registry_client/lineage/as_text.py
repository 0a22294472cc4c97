"""A lineage, and a difference, as lines of text for a terminal. Pure.

Used by `roost lineage`. Always: no line is wider than asked for, unless a single word is; a part that is missing is
said to be, and long lists end with how many more there are.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from registry_client.lineage.document import (
    Attached,
    Beside,
    Code,
    Data,
    Difference,
    Flat,
    Gate,
    Provenance,
    Served,
    VersionLineage,
)
from registry_client.lineage.shown import counted, short, shown
from registry_client.lineage.words import (
    NEVER,
    NOT_RECORDED,
    PARTS,
    Row,
    brief_rows,
    change_words,
    commit_words,
    entry_number,
    entry_words,
    flat_rows,
    gate_words,
    named_words,
    outcome,
    promotion_words,
    rows_words,
    sample_words,
    source_words,
    stay_words,
    summary,
    table_words,
    time_words,
    title_of,
)

WIDTH: Final = 80
LABEL_MAX: Final = 34
ROWS_MAX: Final = 48
ENTRIES_MAX: Final = 12
INDENT: Final = 2
PARAMETERS_MAX: Final = 6
BRIEF: Final = frozenset({"Data", "Code", "Parent", "Promoted", "Promoted, served", "Served"})
"""What a run tells of the version that it has made."""


def lineage_lines(lineage: VersionLineage, width: int = WIDTH) -> Iterator[str]:
    """All of one version's lineage."""
    return _lines(lineage, _sections(lineage), width)


def brief_lines(lineage: VersionLineage, width: int = WIDTH) -> Iterator[str]:
    """Where it comes from and what became of it, without files, parameters, gates and evidence."""
    return _lines(lineage, [(title, rows) for title, rows in _sections(lineage) if title in BRIEF], width)


def _lines(lineage: VersionLineage, sections: Iterable[tuple[str, Iterable[Row]]], width: int) -> Iterator[str]:
    aliases = "".join(f"  @{alias}" for alias in lineage.aliases)
    yield f"{lineage.title}{aliases}"
    yield f"  digest  {lineage.origin.digest}"
    for title, rows in sections:
        yield ""
        yield title
        yield from _rows_lines(rows, width)


def difference_lines(name: str, difference: Difference, width: int = WIDTH) -> Iterator[str]:
    """What differs between two, grouped by part, with its sum in the last line."""
    for label, named in (("from", difference.before), ("to", difference.after)):
        yield f"{label:<6}{title_of(name, named)}"
        yield f"      digest {named.digest}"
    for part, title in PARTS.items():
        changes = [one for one in difference.changes if one.part == part]
        if changes:
            yield ""
            yield title
            yield from _rows_lines([(shown(one.name), change_words(one)) for one in changes], width)
    yield ""
    yield from textwrap.wrap(summary(difference), width)


def _sections(lineage: VersionLineage) -> Iterator[tuple[str, Iterable[Row]]]:
    origin, beside = lineage.origin, lineage.beside
    yield "Data", _data_rows(origin.data)
    yield "Code", _code_rows(origin.code, beside.provenance)
    if origin.code.files:
        yield "Files of code", ((shown(path), short(shown(digest))) for path, digest in origin.code.files.items())
    yield "Parameters", [*flat_rows(origin.parameters)] or [("", NOT_RECORDED)]
    yield "Environment", _environment_rows(origin.code, beside.provenance)
    yield "Parent", _parent_rows(lineage)
    yield "Gates", _gate_rows(origin.gates, beside.provenance, lineage.why_missing("gates"))
    yield "Comparison with the stable version", _attached_rows(beside.comparison, lineage.why_missing("comparison"))
    if lineage.served is None:
        yield "Promoted, served", [("", lineage.why_missing("served") or NOT_RECORDED)]
    else:
        yield "Promoted", _promoted_rows(lineage.served)
        yield "Served", _served_rows(lineage.served)
        yield f"Journal ({shown(lineage.served.source)})", _journal_rows(lineage.served)
    for rollout in beside.rollouts:
        yield f"Rollout ({rollout.file})", brief_rows(rollout)
    yield "Signatures", _signature_rows(beside, lineage)
    yield "Beside the version", _beside_rows(lineage)
    if lineage.damaged:
        yield "Damaged", [(shown(note.part), shown(note.text, 400)) for note in lineage.damaged]


def _data_rows(data: Data) -> Iterator[Row]:
    for table in data.tables:
        yield f"table {shown(table.name)}", table_words(table)
        for load in table.loads:
            yield f"  load {shown(load.name)}", rows_words(load)
    if data.source:
        yield "source", source_words(data.source)
    for sample in data.samples:
        yield sample.name, sample_words(sample)
    yield from flat_rows(data.other)
    if not (data.tables or data.samples or data.source or data.other):
        yield "", NOT_RECORDED


def _code_rows(code: Code, provenance: Provenance | None) -> Iterator[Row]:
    files = f", {counted(len(code.files), 'file')}" if code.files else ""
    yield "digest", f"{short(code.sha256)}{files}"
    commit = None if provenance is None else provenance.commit
    if commit is not None or "commit" not in code.other:  # others put it under the digest
        yield "commit", NOT_RECORDED if commit is None else commit_words(commit)
    yield from flat_rows(code.other)


def _environment_rows(code: Code, provenance: Provenance | None) -> Iterator[Row]:
    on = provenance.python if provenance is not None and provenance.python else code.python
    if on:
        yield "python", shown(on)
    for name, version in code.libraries.items():
        yield shown(name), shown(version)
    if not (on or code.libraries):
        yield "", NOT_RECORDED


def _parent_rows(lineage: VersionLineage) -> Iterator[Row]:
    if lineage.parent is None:
        yield "", lineage.why_missing("parent") or NOT_RECORDED
    else:
        yield "was stable then", named_words(lineage.parent)
        if lineage.since_parent is not None:
            yield "differs in", summary(lineage.since_parent)
            changed = [one for one in lineage.since_parent.changes if one.part == "parameters"]
            if changed:
                told = [f"{shown(one.name)} {change_words(one)}" for one in changed[:PARAMETERS_MAX]]
                yield "parameters", "; ".join([*told, *(["and others"] if changed[PARAMETERS_MAX:] else [])])
            yield "by name", f"the same command with --diff {lineage.parent.version} {lineage.version}"
        else:
            yield "differs in", lineage.why_missing("since_parent") or NOT_RECORDED
    for child in lineage.children or ():
        yield "parent of", named_words(child)
    why = lineage.why_missing("children")
    if why and lineage.children is not None:
        yield "later versions", why


def _gate_rows(gates: tuple[Gate, ...] | None, provenance: Provenance | None, why: str | None) -> Iterator[Row]:
    for gate in gates or ():
        yield shown(gate.name), f"{outcome(gate.passed)}  {gate_words(gate)}"
    for gate in provenance.speed if provenance is not None else ():
        yield shown(gate.name), f"{outcome(gate.passed)}  {gate_words(gate)}, on that machine"
    if gates is None:
        yield "", why or NOT_RECORDED


def _attached_rows(attached: Attached | None, why: str | None) -> Iterable[Row]:
    return brief_rows(attached) if attached is not None else [("", why or NOT_RECORDED)]


def _promoted_rows(served: Served) -> Iterator[Row]:
    for promotion in served.promotions:
        yield time_words(promotion.at_utc), promotion_words(promotion)
    if not served.promotions:
        yield "", NEVER


def _served_rows(served: Served) -> Iterator[Row]:
    for stay in served.stays:
        yield stay.place, stay_words(stay)
    if not served.stays:
        yield "", NEVER


def _journal_rows(served: Served) -> Iterator[Row]:
    """The newest that are about it."""
    older = len(served.entries) - ENTRIES_MAX
    if older > 0:
        yield "", f"{counted(older, 'older entry', 'older entries')}: --json has all of them"
    for entry in served.entries[-ENTRIES_MAX:]:
        yield entry_number(entry), entry_words(entry)
    if not served.whole:
        yield "", "There may be others: --state with a server's state folder tells all."
    if not served.entries:
        yield "", "nothing about this version"


def _signature_rows(beside: Beside, lineage: VersionLineage) -> Iterator[Row]:
    for name in beside.signatures:
        yield "attached", f"{shown(name)}; `roost verify` says whose it is, with --signer"
    if not beside.signatures:
        yield "", "none attached" if lineage.version is not None else lineage.why_missing("provenance") or NOT_RECORDED


def _beside_rows(lineage: VersionLineage) -> Iterator[Row]:
    """What no digest covers."""
    provenance = lineage.beside.provenance
    if provenance is None:
        yield "", lineage.why_missing("provenance") or NOT_RECORDED
    else:
        yield "made", _made(provenance)
        run: Flat = {f"run, {name}": value for name, value in provenance.run.items()}
        yield from flat_rows(run)
        yield from flat_rows(provenance.other)
    tags: Mapping[str, str] = lineage.tags
    for key, value in sorted(tags.items()):
        yield f"tag {shown(key)}", shown(value)
    for name in lineage.beside.others:
        yield "attached", shown(name)


def _made(provenance: Provenance) -> str:
    at = time_words(provenance.made_at_utc) if provenance.made_at_utc else "at a time that was not recorded"
    return f"{at}, on {shown(provenance.host, 80)}" if provenance.host else at


def _rows_lines(rows: Iterable[Row], width: int) -> Iterator[str]:
    """Labels in a column of their own; what is longer than its room goes on below."""
    listed = list(rows)
    kept = listed[:ROWS_MAX]
    text_room = max((len(text) for _, text in kept), default=0)
    most = max(LABEL_MAX, width - INDENT - 2 - text_room)  # beside short texts, labels may be longer
    room = min(max((len(label) for label, _ in kept), default=0), most)
    for label, text in kept:
        yield from _row_lines(label, text, room, width)
    if len(listed) > len(kept):
        yield f"{' ' * INDENT}and {len(listed) - len(kept):,} more: --json has all of them"


def _row_lines(label: str, text: str, room: int, width: int) -> Iterator[str]:
    if not label:
        hang = " " * INDENT
        yield from textwrap.wrap(text, width, initial_indent=hang, subsequent_indent=hang) or [""]
        return
    start = INDENT + room + 2
    pieces = textwrap.wrap(text, max(width - start, 20), break_on_hyphens=False) or [""]
    if len(label) > room:
        yield f"{' ' * INDENT}{shown(label, width - INDENT)}"
        yield from (f"{' ' * start}{piece}" for piece in pieces)
        return
    yield f"{' ' * INDENT}{label:<{room}}  {pieces[0]}".rstrip()
    yield from (f"{' ' * start}{piece}" for piece in pieces[1:])
