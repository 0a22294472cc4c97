"""The flights example: how late a flight lands, told when it leaves New York. `definition.py` says what it is.

Always: the same records, code and parameters give the same bundle, byte for byte.
"""
