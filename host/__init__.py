"""This machine: prepare it, run the engine, reach the nodes.

Standard library only, because it runs before any virtual environment exists.
"""
