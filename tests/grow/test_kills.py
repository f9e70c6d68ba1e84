"""Every process and every server killed under load, over each topology, and the audit of the books."""

from tests.faults.test_kills import test_whatever_is_killed_under_load_nothing_is_lost_and_nothing_doubled

__all__ = ["test_whatever_is_killed_under_load_nothing_is_lost_and_nothing_doubled"]
