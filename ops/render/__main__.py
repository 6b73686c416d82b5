"""Writes the file tree of a stack's nodes into a folder, as the nodes get it; see the package for the JSON document."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.config.schema import suggestion
from lab.node.render import render
from ops.command_line import OK, parse, parser, report_error
from ops.render.tree import describe, listing, write
from ops.stack_file import read_stack
from system.errors import HardwayError
from system.files import CHECKOUT


def main(arguments: Sequence[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Write the files and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        checkout: Folder of the stack files.
    """
    options_parser = parser(
        "render",
        "Writes the files of the nodes into a folder, without a running lab. Credentials become placeholders.",
        "Exit code: 0 written, 2 not written.",
    )
    options_parser.add_argument("node", nargs="?", help="write only this node (default: all nodes)")
    options_parser.add_argument("folder", metavar="DIR", type=Path, help="new, empty, or written by render before")
    options = parse(options_parser, arguments)
    try:
        rendered = render(read_stack(options.stack, checkout).spec)
        nodes = {name: node.services for name, node in rendered.nodes.items()}
        if options.node is not None:
            if options.node not in nodes:
                hint = suggestion(options.node, nodes)
                return report_error(f"Stack {options.stack} has no node {options.node}{hint}")
            nodes = {options.node: nodes[options.node]}
        write(options.folder, nodes)
    except HardwayError as error:
        return report_error(str(error))
    if options.json:
        described = {name: {"services": list(map(describe, services))} for name, services in nodes.items()}
        document = {"stack": options.stack, "folder": str(options.folder.resolve()), "nodes": described}
        print(json.dumps(document, indent=2))
    elif not options.quiet:
        for name, services in nodes.items():
            files = sum(len(service.files) for service in services)
            print(f"{options.folder / name}: {len(services)} services, {files} files")
            if options.verbose:
                print(listing(services), end="")
    return OK


if __name__ == "__main__":
    sys.exit(main())
