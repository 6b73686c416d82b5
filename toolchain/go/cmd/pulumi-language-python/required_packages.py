"""Prints, as JSON, every installed package's pulumi-plugin.json: which plugin a Python SDK needs, and its version."""

import json
import pathlib
import sys

seen = set()
plugins = []
for entry in sys.path:
    for path in sorted(pathlib.Path(entry).glob("*/pulumi-plugin.json")):
        # sys.path is searched in order: the first package of a name is the one a program would import.
        if path.parent.name not in seen:
            seen.add(path.parent.name)
            plugins.append(json.loads(path.read_text(encoding="utf-8")))
json.dump(plugins, sys.stdout)
