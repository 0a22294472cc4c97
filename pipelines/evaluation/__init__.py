"""Evaluation: what a model is worth, on whom, and whether that is enough. Used by the stages evaluate and register.

Measures are pure functions of arrays, gates pure functions of measures; only `stages/evaluate.py` reads and writes.
`report.py` states the form of what comes out. Always: what is drawn at random is drawn from a seed.
"""
