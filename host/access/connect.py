"""Connect to HOST PORT and pass the connection to the parent: a ProxyCommand for ssh with ProxyUseFdpass."""

import socket
import sys

_TIMEOUT = 20
"""Seconds to connect."""


def main() -> None:
    """Connect and pass the connection through the socket on standard output. Arguments: host and port."""
    host, port = sys.argv[1:]
    try:
        connection = socket.create_connection((host, int(port)), timeout=_TIMEOUT)
    except OSError as error:
        sys.exit(f"{host} port {port} cannot be reached from inside the lab's network: {error.strerror or error}")
    connection.settimeout(None)
    with socket.socket(fileno=sys.stdout.fileno()) as caller:
        socket.send_fds(caller, [b"\0"], [connection.fileno()])
        caller.detach()


if __name__ == "__main__":
    main()
