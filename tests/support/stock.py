"""Moving the stock of a product that needs no entry in the catalogue: the hottest stream there is."""

from uuid import UUID, uuid4

from domain.accounts import ACCOUNTS, RegisterAccount
from domain.inventory import INVENTORY, ChangeStock, ReserveStock
from domain.kernel.unit_of_work import UnitOfWork
from infra.eventsourcing.commands.attempt import CommandOutcome
from tests.support.write_side import WriteSide, context


async def change_stock(side: WriteSide, product_id: UUID, change: int, *, new: int = 0) -> CommandOutcome:
    """Pieces come in or go, of a product that needs no entry in the catalogue."""
    command = ChangeStock(product_id=product_id, change=change, reason="count")
    return await side.commands.run(
        [(INVENTORY, product_id)], lambda work: move(work, product_id, command), context(), new=new
    )


async def reserve(side: WriteSide, product_id: UUID, quantity: int) -> CommandOutcome:
    command = ReserveStock(product_id=product_id, order_id=uuid4(), quantity=quantity)
    return await side.commands.handle((INVENTORY, product_id), command, context())


def move(work: UnitOfWork, product_id: UUID, *commands: ChangeStock | ReserveStock) -> None:
    for command in commands:
        work.execute(INVENTORY, product_id, command)


async def with_an_account(
    side: WriteSide, email: str, product_id: UUID, command: ChangeStock | ReserveStock
) -> CommandOutcome:
    """One unit of work over a new account and a stock: it fails as a whole when the email is taken."""
    account_id = uuid4()
    register = RegisterAccount(account_id=account_id, email=email, username=f"u{account_id.hex}")

    def decide(work: UnitOfWork) -> None:
        work.execute(ACCOUNTS, account_id, register)
        work.execute(INVENTORY, product_id, command)

    return await side.commands.run([(ACCOUNTS, account_id), (INVENTORY, product_id)], decide, context(), new=1)


def nothing(_work: UnitOfWork) -> None:
    """It is so already."""
