"""Damage to files as disks cause it."""

import os
from pathlib import Path


def flip_a_bit(path: Path) -> None:
    """Change one bit of a file, but neither its size nor its modification time."""
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
