"""One file per measure; ``all.py`` lists them in the order of the results."""
