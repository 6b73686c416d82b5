"""Files of this machine: where the checkout is, and how a file is written so that a reader never sees half of it."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
"""The checkout that this code runs from."""
