"""Prints the impact of a change, and compares it with the limit; see the package for the document."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.disruption import LEVELS, Disruption
from lab.node.render import services_of
from ops.clients import Commands
from ops.command_line import OK, parse, parser, report_error
from ops.preview.impact import read_impact
from ops.preview.report import ImpactReport
from ops.stack_file import read_stack
from system.errors import HardwayError
from system.files import CHECKOUT

REFUSED = 3
"""Exit code if a change needs more than the limit."""


def main(arguments: Sequence[str] | None = None, commands: Commands | None = None, checkout: Path = CHECKOUT) -> int:
    """Print the impact and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Runs the engine.
        checkout: Folder of the stack files.
    """
    options_parser = parser(
        "preview",
        "Tells how much `hardway up` would disturb each node and service.",
        "Exit code: 0 if the limit allows the change, 2 if there is no preview, 3 if the change needs more.",
    )
    options_parser.add_argument("--markdown", action="store_true", help="print a summary in Markdown")
    options_parser.add_argument("--max-disruption", choices=LEVELS, help="the limit, instead of maxDisruption")
    options_parser.add_argument(
        "--replace", action="append", default=[], metavar="URN", help="a certificate to renew; repeat it for more"
    )
    options = parse(options_parser, arguments)
    commands = commands or Commands()
    try:
        spec = read_stack(options.stack, checkout, commands).spec
        services = {node.name: {each.name: each for each in services_of(spec, node)} for node in spec.nodes}
        impact = read_impact(commands.preview(options.stack, options.replace), spec, services)
    except HardwayError as error:
        return report_error(f"there is no preview of the change: {error}")
    limit = Disruption(options.max_disruption) if options.max_disruption else spec.max_disruption
    report = ImpactReport(stack=options.stack, impact=impact, limit=limit)
    if options.json:
        print(json.dumps(report.document(), indent=2), flush=True)
    elif options.markdown:
        print(report.markdown(), flush=True)
    elif not report.beyond and not options.quiet:
        print(report.text(), flush=True)
    if not report.beyond:
        return OK
    print(f"hardway: {report.refusal()}", file=sys.stderr, flush=True)
    return REFUSED


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
