"""Generates the parts of the documentation that describe the code: python3 -m dev.reference [--check]."""
