"""The immutable artifact: everything that goes into a bundle beside the graph, each thing made by a file of its own.

Used by `pipelines/stages/bundle.py` alone. Always: pure but for reading this checkout's lock and templates; the same
examples, learner, report and parameters give the same bytes; no time, host, run or commit is told inside.
"""
