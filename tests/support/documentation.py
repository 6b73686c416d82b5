"""Reads the documentation: its code blocks, links and the paths that it names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from system.files import CHECKOUT

DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")])
SHELL = "sh"


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced code block.

    Attributes:
        document: Path of the document in the checkout.
        line: Number of its first line.
        language: First word after the fence, such as `sh`.
        covered_by: File that runs these commands; empty if the end-to-end tests run them from here.
        text: Content.
        output: Content of the `text` block that follows before the next commands; empty without one.
    """

    document: str
    line: int
    language: str
    covered_by: str
    text: str
    output: str = ""

    @property
    def commands(self) -> list[str]:
        """The commands, without comments, with continued lines joined."""
        joined = re.sub(r"(\\|\|)\n\s*", lambda match: "| " if match[1] == "|" else "", self.text)
        lines = (re.sub(r"(^|\s+)# .*", "", line) for line in joined.splitlines())
        return [line for line in lines if line.strip()]

    def missing_output(self, printed: str) -> list[str]:
        """Return the documented lines that were not printed. `…` stands for any text, and blanks count as one."""
        lines = [" ".join(line.split()) for line in printed.splitlines()]
        missing = []
        for line in filter(None, map(str.split, self.output.splitlines())):
            pattern = re.compile(r".*".join(map(re.escape, " ".join(line).split("…"))))
            if not any(pattern.search(candidate) for candidate in lines):
                missing.append(" ".join(line))
        return missing

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    """Yield all code blocks of a language, in the order of a reader."""
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        fences = rf"^```{language}(?: covered-by=(\S+))?\n(.*?)^```$"
        for match in re.finditer(fences, text, re.DOTALL | re.MULTILINE):
            following = text[match.end() :].partition("\n```sh")[0]
            output = re.search(r"^```text\n(.*?)^```$", following, re.DOTALL | re.MULTILINE)
            yield Block(
                document=str(document.relative_to(CHECKOUT)),
                line=text.count("\n", 0, match.start()) + 2,
                language=language,
                covered_by=match[1] or "",
                text=match[2],
                output=output[1] if output else "",
            )


def links(document: Path) -> Iterator[str]:
    """Yield the targets of all links to files of the checkout."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            yield target


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
