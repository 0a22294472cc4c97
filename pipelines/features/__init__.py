"""Features: declared once, encoded alike in training and in the graph that serves.

`declaration.py` says what a caller sends, `plan.py` with which numbers it is encoded, `matrix.py` does it on numpy's
arrays and `graph.py` as nodes of ONNX. Always: both give the same float32, bit for bit (tests/pipelines/features).
`point_in_time.py` joins what was known at a moment, for features that come from other tables.
"""
