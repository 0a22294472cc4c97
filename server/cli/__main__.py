"""`python -m server.cli`: the console script without an installed script."""

from server.cli.application import main

main()
