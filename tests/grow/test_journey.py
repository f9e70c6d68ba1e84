"""The main job through the public API and every process, over each topology."""

from tests.journeys.test_journey import (
    test_a_read_model_is_rebuilt_while_customers_order_and_read,
    test_an_erased_account_is_in_no_room_any_more_and_what_it_said_stays,
    test_three_orders_go_their_ways_through_every_process,
)

__all__ = [
    "test_a_read_model_is_rebuilt_while_customers_order_and_read",
    "test_an_erased_account_is_in_no_room_any_more_and_what_it_said_stays",
    "test_three_orders_go_their_ways_through_every_process",
]
