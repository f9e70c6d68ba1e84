"""The console script. Who stops it while it loads sees it end, and no traceback of what it was loading."""

import signal


def main() -> None:
    """As :func:`cli.main.main`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cli.main import main as run

    run()
