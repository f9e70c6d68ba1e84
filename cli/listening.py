"""The socket that a stand-in listens on, or what to say where it cannot."""

import socket

import typer


def listening(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens there. Where none can, ends the command and names the option that chooses another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        why = str(error.strerror).partition(" (while")[0] if isinstance(error, OSError) else "there is no such port"
        typer.echo(f"cannot listen at {host}:{port}: {why}; {option} names another port", err=True)
        raise typer.Exit(1) from None
