"""Downloads or builds what the lab runs on: engine and plugins, node binaries, container images, the VM image.

This package needs only Python 3.11 or newer, because it runs before any virtual environment exists.
"""
