"""Listeners: how calls arrive. Two of them, with the same methods and the same answers."""
