"""Prepares the machine that carries the lab. Standard library only: it runs before any virtual environment exists."""
