"""The plugins of the engine that the lab uses."""

PLUGINS = {"command": "1.2.1", "libvirt": "0.5.4", "tls": "5.6.2"}
"""Versions by plugin."""
