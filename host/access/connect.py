"""Connects to HOST PORT and passes the connection to whoever started it: a ProxyCommand of ssh with ProxyUseFdpass."""

import socket
import sys


def main() -> None:
    """Arguments: host and port. Standard output is the socket that the connection is passed over."""
    host, port = sys.argv[1:]
    try:
        connection = socket.create_connection((host, int(port)), timeout=20)
    except OSError as error:
        sys.exit(f"{host} port {port} can't be reached from inside the lab's network: {error.strerror or error}")
    connection.settimeout(None)
    with socket.socket(fileno=sys.stdout.fileno()) as caller:
        socket.send_fds(caller, [b"\0"], [connection.fileno()])
        caller.detach()


if __name__ == "__main__":
    main()
