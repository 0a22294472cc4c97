"""Poison: records that are bad in ways that really happen, and the proof that none of them reaches traffic.

`make poison` spoils the employment example's records nine ways. Each must be stopped by a gate of its own
name; pushed past the gates on purpose, each must be held or taken home by a server. Used by nobody else.
"""
