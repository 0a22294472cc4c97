"""Offline scoring: a bundle's answers to the rows of a file, in this process or on a Ray cluster.

`rows.py` reads what a model takes, `engines.py` runs it, `answers.py` writes what it said. Always: the same bundle and
rows give the same answers in the same order, whichever engine ran them, and they are those that a server would give.
"""
