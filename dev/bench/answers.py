"""Prints `ADDRESS TIME` for each of its arguments once an SSH server greets there. A program of its own, for it runs
in the lab's network; the time is in seconds since 1970.
"""

import socket
import sys
import threading
import time

PAUSE = 0.5
"""Seconds between two attempts: how late an answer may be noticed."""


def greets(address: str) -> bool:
    """Whether an SSH server says its name at the address."""
    try:
        with socket.create_connection((address, 22), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def await_answer(address: str) -> None:
    """Returns once the address has answered, having said when. Does not come back where it never does."""
    while not greets(address):
        time.sleep(PAUSE)
    print(address, time.time(), flush=True)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        threading.Thread(target=await_answer, args=(argument,)).start()
