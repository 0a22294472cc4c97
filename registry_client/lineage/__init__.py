"""Lineage: where a version comes from, what hangs beside it, and where it served; and what differs between two.

Used by `roost lineage`. `gathering.py` asks registry and journal, `difference.py` compares, `as_text.py` and
`as_html.py` show. Always: what others wrote is material, never markup or instruction: bounded, made printable, and
where a part is missing or damaged it is said, and the rest is shown all the same.
"""
