"""The employment example: who is at work, from US Census records of Massachusetts. `definition.py` says what it is.

Always: the same records, code and parameters give the same bundle, byte for byte.
"""
