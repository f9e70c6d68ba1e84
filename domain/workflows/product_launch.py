"""A product comes on sale together with its first stock."""

from typing import Final

from domain.catalogue import PRODUCTS, AddProduct
from domain.inventory import INVENTORY, ChangeStock
from domain.kernel.unit_of_work import UnitOfWork, Workflow

NEW_STREAMS: Final = 2
"""Both streams of the workflow are begun by it: the product's and its stock's."""


def launch_product(command: AddProduct, stock: int) -> Workflow:
    """Adds the product, of which so many pieces are there from the start."""

    def decide(work: UnitOfWork) -> None:
        work.execute(PRODUCTS, command.product_id, command)
        if stock:
            first = ChangeStock(product_id=command.product_id, change=stock, reason="first stock")
            work.execute(INVENTORY, command.product_id, first)

    return [(PRODUCTS, command.product_id), (INVENTORY, command.product_id)], decide
