"""The fields, flags and feature gates of the programs on nodes, and the check of overrides against them.

The tables, `*.txt`, are generated: `python3 -m dev.fields`.
"""
