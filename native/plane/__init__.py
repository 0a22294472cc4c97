"""The plane: one memfd that parent, control and workers share.

`counters` is the table of everything a worker counts, `layout` where it lies, `seqlock` and `atomics` how it is
published and read. Always: a word has one writer at a time, and a reader never waits for a writer.
"""
