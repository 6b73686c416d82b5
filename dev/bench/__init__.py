"""Benchmark of a lab: `make bench`."""
