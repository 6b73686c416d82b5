"""Prints the pulumi-plugin.json of every installed package as JSON. It names the plugin of a Python SDK."""

import json
import pathlib
import sys

seen = set()
plugins = []
for entry in sys.path:
    for path in sorted(pathlib.Path(entry).glob("*/pulumi-plugin.json")):
        # A program imports the first package of a name, because Python searches sys.path in order.
        if path.parent.name not in seen:
            seen.add(path.parent.name)
            plugins.append(json.loads(path.read_text(encoding="utf-8")))
json.dump(plugins, sys.stdout)
