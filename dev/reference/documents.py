"""The generated parts of the documentation."""

import json
from collections.abc import Callable, Mapping

from dev.reference.keys import tables
from dev.reference.picture import picture
from dev.reference.stack_schema import stack_schema
from lab.config.parse import ConfigurationError, load, parse
from lab.config.schema import project
from system.files import CHECKOUT

STACK_FILE = "Pulumi.dev.yaml"

SECTIONS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"lab": lambda: _text_block(picture(load(CHECKOUT / STACK_FILE)))},
    "docs/configuration.md": {"configuration": lambda: tables(project().name, project().schema)},
    "docs/troubleshooting.md": {"problems": lambda: _text_block(f"{wrong_configuration()}\n")},
}
"""Document to section to the function that generates its content. Markers in the document surround each section."""

FILES: Mapping[str, Callable[[], str]] = {
    "docs/stack.schema.json": lambda: f"{json.dumps(stack_schema(project()), indent=2, ensure_ascii=False)}\n",
}
"""Documents that are generated as a whole."""


def outdated() -> dict[str, str]:
    """Return the text that each document should have, if it is out of date."""
    documents = {path: generate() for path, generate in FILES.items()}
    for path, sections in SECTIONS.items():
        text = (CHECKOUT / path).read_text(encoding="utf-8")
        for name, generate in sections.items():
            text = with_section(text, name, generate())
        documents[path] = text
    return {path: text for path, text in documents.items() if _current(path) != text}


def write(documents: Mapping[str, str]) -> None:
    """Write documents: path in the checkout to text."""
    for path, text in documents.items():
        (CHECKOUT / path).write_text(text, encoding="utf-8")


def with_section(text: str, name: str, content: str) -> str:
    """Return `text` with the content of one section replaced.

    Raises:
        ValueError: The text has no markers for this section.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, begin_marker, rest = text.partition(begin)
    _, end_marker, after = rest.partition(end)
    if not (begin_marker and end_marker):
        raise ValueError(f"There is no section between {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{content}{end}{after}"


def wrong_configuration() -> str:
    """Return the message for a configuration with two mistakes that people make."""
    try:
        parse(
            {
                "maxUnavailabel": "2",
                "workers": [
                    {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"},
                    {"name": "node-1", "address": "10.250.0.21", "podCidr": "10.200.1.0/24"},
                ],
            }
        )
    except ConfigurationError as error:
        return str(error)
    raise AssertionError("a wrong configuration was accepted")


def _current(path: str) -> str:
    file = CHECKOUT / path
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _text_block(text: str) -> str:
    return f"```text\n{text}```\n"
