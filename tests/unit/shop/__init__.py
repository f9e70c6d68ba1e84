"""The shop, pure: accounts, catalogue, stock, orders, and the read models made of them."""
