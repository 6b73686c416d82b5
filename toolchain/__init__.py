"""Fetches or builds what the lab runs on: engine and plugins, node binaries, container images, the VM image.

Needs nothing but Python 3.11 or newer, since it runs before any virtual environment exists.
"""
