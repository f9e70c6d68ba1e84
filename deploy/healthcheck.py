"""The health check of a container: whether its process says that it may be sent work. Few imports: it runs for ever."""

import os
import socket
import sys

PORT = os.environ.get("WEIR_HEALTH_PORT") or os.environ.get("WEIR_PORT") or "8000"

with socket.create_connection(("127.0.0.1", int(PORT)), timeout=2) as connection:
    connection.sendall(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    status = connection.recv(64).split(maxsplit=2)[1:2]
sys.exit(status != [b"200"])
