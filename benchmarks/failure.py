"""What ends the bench without results."""


class Failed(Exception):
    """A side could not be run, or did not do what it is measured for; the message ends with what it said."""
