"""No I/O, under two seconds in all."""
