"""What keeps read models: what one is, its generations, its rows, and how they are folded, written and parked."""
