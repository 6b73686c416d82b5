"""The shell programs of `assets/node`, installed in a folder as on a node."""

import re
import shutil
from pathlib import Path

from lab.node.paths import node_environment
from lab.node.units import ASSETS

_ABSOLUTE_PATH = re.compile(r"(?<![\w$}])/(etc|opt|proc|run|srv|sys|usr|var)/")


def install(folder: Path, *, root: Path | None = None, **variables: str) -> Path:
    """Install the programs and their `node.env` in a folder, and return the folder.

    Args:
        folder: The folder, which is created.
        root: A folder that the programs use as the root of the node's file system.
        variables: Other values for variables of `node.env`.
    """
    shutil.copytree(ASSETS / "node", folder, dirs_exist_ok=True)
    environment = node_environment() + "".join(f"{name}={value}\n" for name, value in variables.items())
    (folder / "node.env").write_text(environment)
    if root:
        for path in folder.iterdir():
            # The first line names the machine's own shell.
            first, rest = path.read_text().split("\n", 1)
            path.write_text(f"{first}\n" + _ABSOLUTE_PATH.sub(rf"{root}/\1/", rest))
    return folder
