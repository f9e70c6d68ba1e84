"""Payloads of every version of every event as they were once stored, and the events that they are read as, for ever.

``events/<name>.v<version>.json`` is never changed: what it says may lie in somebody's log. A new event, and a new
version of one, needs a new file and a new line in ``expected.py``.
"""
