"""Prints `ADDRESS TIME` for each of its arguments when an SSH server first answers there.

The time is in seconds since 1970. This is a separate program because it runs in the network namespace of the lab.
"""

import socket
import sys
import threading
import time

INTERVAL = 0.5
"""Seconds between two attempts, and so the largest error of a time."""


def greets(address: str) -> bool:
    """Return True if an SSH server identifies itself at an address."""
    try:
        with socket.create_connection((address, 22), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def await_answer(address: str) -> None:
    """Print the time when an address first answers. Wait forever if it never does."""
    while not greets(address):
        time.sleep(INTERVAL)
    print(address, time.time(), flush=True)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        threading.Thread(target=await_answer, args=(argument,)).start()
