"""What attackers try, from outside, against the whole API."""
