"""What Weir is measured against, and how: run with ``make bench`` or ``weir bench``."""
