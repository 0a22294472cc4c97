"""The command line, `roost`. One file a command; the parent and what it stands on lie beside them.

Always: exit code 2 is a mistake in flags or settings, 1 is something that failed, 0 is done.
"""


def main() -> None:
    """The console script. Commands are imported only here: `python -m server.cli.warm` needs none of them."""
    from server.importing import without_collections

    with without_collections():
        from server.cli.application import main as run

    run()
