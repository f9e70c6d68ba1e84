"""Imports: a file of products becomes one command a row, in turns that any worker can take over.

::

    claim loop ─────▶ claim ─▶ count ─▶ records ─▶ rows ─▶ commands, some hundred at once ─▶ checkpoint ─┐
                        ▲                 └──────────────── the turn's time is over ◀────────────────────┤
                        └── released, put off, or the lease of a killed worker runs out ◀────────────────┘
"""
