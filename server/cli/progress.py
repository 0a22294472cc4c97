"""How far a long pass over rows is, on standard error, where somebody watches. Used by commands that read files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(title: str, rows: int) -> Iterator[Callable[[int], None]]:
    """A bar for so many rows; gives a function that is told how many more are done. Nothing where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    shown = (TextColumn(title), BarColumn(), TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows"))
    with Progress(
        *shown, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=rows)
        yield lambda done: bar.advance(task, done)
