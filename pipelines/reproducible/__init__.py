"""Reproducible to the bit: the proof that a bundle depends on its rows, parameters and code, and on nothing else.

`make reproduce` trains each example in two clones under circumstances that differ in everything that should not
matter, and then with one row, one parameter and one line of code changed. Used by nobody else, and by its test.
"""
