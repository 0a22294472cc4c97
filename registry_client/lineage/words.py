"""A lineage's parts in words, the same for the terminal and the page. Pure.

Used by `as_text.py`, `as_html.py` and `graph.py`. Always: what comes back was made printable; a digest is shortened
here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any, Final

from registry_client.lineage.document import (
    Attached,
    Change,
    Commit,
    Difference,
    Flat,
    Gate,
    Load,
    Named,
    Promotion,
    Sample,
    Table,
)
from registry_client.lineage.reading import flat
from registry_client.lineage.serving import ALL_PPM, Stay, moment
from registry_client.lineage.shown import counted, figure, short, shown
from registry_client.manifest import MODEL_FILE

NOT_RECORDED: Final = "not recorded"
NEVER: Final = "never, as far as this journal tells"
ROWS_UNKNOWN: Final = "rows not counted"
BECAME_STABLE: Final[Mapping[str, str]] = {
    "promoted": "promoted from canary to stable",
    "started": "a server started with it as stable",
    "rolled_back": "traffic was taken back to it",
    "went_home": "a canary was found to be bad, and traffic came back to it",
    "quarantined": "another was put in quarantine, and it took over",
    "stable_restored": "stable again",
    "coming": "stable, since nothing else that is safe was loaded",
}
BY_THE_SERVER: Final[Mapping[str, str]] = {"promoted": "by the server, as its plan says"}
PARTS: Final[Mapping[str, str]] = {
    "data": "Data",
    "code": "Code",
    "parameters": "Parameters",
    "environment": "Environment",
    "gates": "Gates",
    "interface": "Inputs and outputs",
    "meaning": "Meaning",
    "files": "Files",
    "commit": "Commit, outside the digest",
}
WHOLE_DIGEST: Final = 64
SENTENCE_CHARACTERS: Final = 400
TELLING: Final = ("result", "reason", "by", "done", "passed", "words", "because", "difference", "low", "high")
"""Keys of rollouts' and comparisons' documents that say what they came to."""
TOLD_ABOVE: Final = frozenset({"format", "model", "digest"})
"""Of them what the lineage has said already."""
BRIEF_ROWS_MAX: Final = 16
NAME_CHARACTERS: Final = 72
"""As much of a name as fits on a line of 80."""

Row = tuple[str, str]
"""A label and what stands beside it."""


def title_of(name: str, named: Named) -> str:
    """`churn:3 (@stable)`, or a digest where no version is known."""
    own = f"{name}:{named.version}" if named.version is not None else f"{name}, {short(named.digest)}"
    return own + (f" ({', '.join('@' + alias for alias in named.aliases)})" if named.aliases else "")


def named_words(named: Named) -> str:
    """`version 3, 5c1e…`"""
    version = "not in this registry" if named.version is None else f"version {named.version}"
    aliases = "".join(f" @{alias}" for alias in named.aliases)
    return f"{version}{aliases}, {short(named.digest)}"


def rows_words(part: Table | Load | Sample) -> str:
    rows = ROWS_UNKNOWN if part.rows is None else counted(part.rows, "row")
    return f"{rows}, {short(part.digest) if part.digest else 'no digest'}"


def sample_words(sample: Sample) -> str:
    """`68,785 rows, 8ab35fe05173, from 2015-01-01 to 2015-12-31`"""
    if sample.from_utc is None or sample.to_utc is None:
        return rows_words(sample)
    return f"{rows_words(sample)}, from {shown(sample.from_utc, 40)} to {shown(sample.to_utc, 40)}"


def table_words(table: Table) -> str:
    version = "" if table.version is None else f"version {table.version}, "
    return version + rows_words(table)


def source_words(source: Flat) -> str:
    """`nannyml 0.13.1, sha256 cf5f4a33489a`; whatever else it holds, by name."""
    known = [shown(source[key]) for key in ("package", "version") if key in source]
    rest = [f"{name} {leaf(value)}" for name, value in source.items() if name not in ("package", "version")]
    return ", ".join([" ".join(known), *rest] if known else rest)


def leaf(value: Any) -> str:
    """A value of a document, digests shortened; an empty text as two quotes, texts as sentences or with commas."""
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        sentences = all(one.endswith(".") for one in value)
        return shown((" " if sentences else ", ").join(value), SENTENCE_CHARACTERS)
    text = shown(value) if value != "" else '""'
    return short(text) if len(text) == WHOLE_DIGEST and set(text) <= set("0123456789abcdef") else text


def flat_rows(leaves: Flat) -> Iterator[Row]:
    return ((shown(name, NAME_CHARACTERS), leaf(value)) for name, value in leaves.items())


def brief_rows(attached: Attached) -> list[Row]:
    """What is told of a document beside a version: plain values, the telling ones first, BRIEF_ROWS_MAX at most."""
    leaves = {name: value for name, value in flat(attached.document).items() if name not in TOLD_ABOVE}
    told = {name: value for name, value in leaves.items() if "[" not in name and value not in (None, "", [], {})}
    first = [name for name in TELLING if name in told]
    names = (first + [name for name in told if name not in first])[:BRIEF_ROWS_MAX]
    left = len(leaves) - len(names)
    more = [("", f"and {left:,} more: --json has all of them")] if left > 0 else []
    return [*flat_rows({name: told[name] for name in names}), *more]


def commit_words(commit: Commit) -> str:
    dirty = {True: ", with changes that were not committed", False: ", nothing uncommitted", None: ""}
    return shown(commit.id, 64) + dirty[commit.dirty]


def gate_words(gate: Gate) -> str:
    """`0.905, at least 0.8, on AGEP (4,096 rows)`"""
    bound = "" if gate.bound is None else f", {shown(gate.sense, 20) or 'bound'} {figure(gate.bound)}"
    on = f", on {shown(gate.on, 80)}" if gate.on and gate.on != "all" else ""
    rows = f" ({counted(gate.rows, 'row')})" if gate.rows and on else ""
    return f"{figure(gate.measured)}{bound}{on}{rows}"


def outcome(passed: bool | None) -> str:
    return {True: "passed", False: "FAILED", None: "not judged"}[passed]


def time_words(at_utc: str) -> str:
    """`2026-01-31 14:03:00 UTC`"""
    try:
        return f"{moment(at_utc).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):
        return shown(at_utc, 40)


def stay_words(stay: Stay) -> str:
    """`from 2026-01-31 14:03:00 UTC until ..., with 5 %, then 25 % of the traffic`"""
    until = ", to the journal's end" if stay.until_utc is None else f" until {time_words(stay.until_utc)}"
    shares = ", then ".join(f"{weight * 100 / ALL_PPM:g} %" for weight in stay.weights_ppm)
    return f"from {time_words(stay.since_utc)}{until}" + (f", with {shares} of the traffic" if shares else "")


def promotion_words(promotion: Promotion) -> str:
    """`promoted from canary to stable, by ada (good at 25 %)`"""
    what = BECAME_STABLE.get(promotion.kind, shown(promotion.kind, 60).replace("_", " "))
    if promotion.operator is None:
        by = BY_THE_SERVER.get(promotion.kind, "")
        return f"{what}, {by}" if by else what
    reason = f" ({shown(promotion.reason)})" if promotion.reason else ""
    return f"{what}, by {shown(promotion.operator, 80)}{reason}"


def entry_words(entry: Mapping[str, Any]) -> str:
    """The sentence that `roost journal show` has for it; where it has none, its time, its kind and who asked."""
    told = entry.get("told")
    if isinstance(told, str):
        return shown(told, SENTENCE_CHARACTERS)
    operator = entry.get("operator")
    by = f", by {operator} ({entry.get('reason')})" if isinstance(operator, str) and operator else ""
    return shown(f"{entry.get('at_utc')}: {str(entry.get('kind')).replace('_', ' ')}{by}.", SENTENCE_CHARACTERS)


def entry_number(entry: Mapping[str, Any]) -> str:
    """Its number in the journal; "pending" until it is written there; nothing where a rollout has told of it."""
    return "" if "number" not in entry else shown(entry["number"] or "pending", 12)


def change_words(change: Change) -> str:
    """`100 -> 150`, `added: 3`, `removed`."""
    before, after = (None if value is None else _change_value(value) for value in (change.before, change.after))
    if before is None:
        return f"added: {after}"
    if after is None:
        return f"removed; it was {before}"
    return f"{before} -> {after}" if before != after else f"{shown(change.before)} -> {shown(change.after)}"


def _change_value(value: Any) -> str:
    """With the digests in it shortened, which it may end with."""
    if not isinstance(value, str):
        return shown(value)
    head, _, last = value.rpartition(", ")
    return f"{shown(head)}, {leaf(last)}" if head else leaf(value)


def summary(difference: Difference) -> str:
    """What it comes to, in one sentence: the model's bytes first, then all else that differs, by part or file."""
    if difference.same:
        return "They are the same bundle: nothing in it differs."
    changed = [part for part in PARTS if any(one.part == part for one in difference.changes)]
    others = [PARTS[part].lower() for part in changed if part not in ("files", "commit")]
    others += [one.name for one in difference.changes if one.part == "files" and one.name != MODEL_FILE]
    listed = ", ".join(shown(other) for other in others[:12]) + (" and others" if len(others) > 12 else "")
    if difference.model_bytes:
        return "The model's bytes differ" + (f", and so do: {listed}." if listed else "; nothing else does.")
    return f"The model's bytes are the same. What differs: {listed}."
