"""The lake: records in Delta tables, a version a load, checked on their way in and named by what they hold.

constraints.py says what a table may hold, table.py keeps it, content_digest.py names rows whatever files they lie in.
"""
