"""Checks that docstrings, comments, messages and documents are in plain English.

python3 -m dev.prose            checks all files that Git tracks
python3 -m dev.prose PATH...    checks these files and folders

Each finding is a line `FILE:LINE: "TEXT": ADVICE`. A line that contains `prose: allow` is exempt, for a text that
is right as it is.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.checks import is_shell_program, tracked_files
from system.files import CHECKOUT

ALLOW = "prose: allow"
"""The mark that exempts a line."""
MAX_TEST_WORDS = 10
"""The most words in the name of a test function, without `test`."""

# Nodes compare these files as they are, so rewording a comment there is a change on every node.
_ON_NODES = ("assets/network/", "assets/units/", "toolchain/vm/root/")
_EXCLUDED = ("dev/prose.py", "tests/unit/dev/test_prose.py", "tests/golden/", *_ON_NODES)
_MIN_MESSAGE_WORDS = 3


@dataclass(frozen=True)
class Rule:
    """A pattern to avoid.

    Attributes:
        pattern: Matches the text to avoid. A blank in its source matches any white space, also a line break.
        advice: The text to write instead.
    """

    pattern: re.Pattern[str]
    advice: str


@dataclass(frozen=True)
class Passage:
    """A piece of prose.

    Attributes:
        line: The number of its first line in the file.
        text: The text. It has a line break where the file has one.
        starts: True if it must begin as a docstring does.
    """

    line: int
    text: str
    starts: bool = False


@dataclass(frozen=True)
class Finding:
    """A violation of a rule.

    Attributes:
        path: The file, relative to the checkout.
        line: The number of the line.
        text: The text that matches.
        advice: The text to write instead.
    """

    path: str
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: "{self.text}": {self.advice}'


def _rule(pattern: str, advice: str, flags: int = re.IGNORECASE) -> Rule:
    return Rule(re.compile(pattern.replace(" ", r"\s+"), flags), advice)


_AFTER = "and|as|at|because|but|by|for|has|if|in|is|of|on|or|so|than|that|to|when|where|which|while|with"
"""Words after which `of its own` is the end of a phrase. Before a noun it is ordinary English."""

START = _rule(
    r"\A\s*(what(ever)?|whether|how|where(ver)?|why|who(ever|se)?|those|that (which|of)|which)\b(?!')",
    'start with a verb or a noun: "Return …", "A service …", "If …"',
)
"""A docstring or a comment must not start with a clause instead of a statement."""

RULES = (
    _rule(r"\banew\b", "write again, or recreate, renew"),
    _rule(
        r"(?<!\bleave\s)(?<!\bleave\sit\s)(?<!\bleave\sthem\s)(?<!\bleft\s)(?<!\bstand-)\balone\b",
        "write only before the noun",
    ),
    _rule(r"\b(is|are|was|were|been|being) told\b", "write is given, is configured, or is recognised by"),
    _rule(r"\btold (apart )?by\b", "write recognised by"),
    _rule(r"\b(is|are|was|were|been) said\b", "write is reported, is printed, is configured"),
    _rule(r"\b(says?|said|saying|tells?) (so|who|whether|what(?! (to|is) ))\b", "write reports, prints or returns"),
    _rule(r"\bbe (it|they) \w+", "write whether A or B"),
    _rule(r"\b(is|are|was|were) there (already|before)\b", "write existing"),
    _rule(
        rf"\bof (its|their|his|her|your|our) own\b(?! (?!(?:{_AFTER})\b)[a-z])",
        "write separate, or its own before the noun",
    ),
    _rule(r"\bstands? (in|there|at|beside|under|above|below|between)\b(?! for\b)", "write is, or lives"),
    _rule(r", for (it|they|there|he|she|we|this|that|these|those|nobody|nothing) ", "write because"),
    _rule(r"\b(is|are|was|were) to (be )?(?!(?:\d|the |a |an )\b)[a-z]+", "write must or will"),
    _rule(r"\b(has|have|had|having) to\b(?! (it|them|each)\b)", "write must, or needs to"),
    _rule(r"\b(go|goes|went|going|come|comes|came) by\b", "write uses, reads, or is identified by"),
    _rule(r"\b(come|comes) to (?!(?:an end|a )\b)[a-z]+", "write becomes, reaches, or leave it out"),
    _rule(r"\bput(s|ting)? (\w+ ){0,2}?back\b", "write roll back or restore"),
    _rule(r"\b(take|takes|taken|took|taking) (\w+ )?(away|back)\b", "write remove, delete or undo"),
    _rule(r"\blook(s|ed|ing)? anew\b", "write check or query again"),
    _rule(r"\b(who|whom|what|which|where)(so)?ever\b(?! happens)", "name the thing, or write any"),
    _rule(r"\b(that|those|this) which\b", "name the thing"),
    _rule(r"\bnone but\b|\bnothing but\b|\bno \w+ but the\b|\ball but\b|\bbut for\b", "write only, except or without"),
    _rule(r"\bin vain\b", "write timed out, or without success"),
    _rule(r"\bfor ever\b", "write forever"),
    _rule(r"\b(hence|thereby|whereby|wherein|thereof|hitherto|henceforth|lest|nought|naught)\b", "use a common word"),
    _rule(r"\bonce more\b", "write again"),
    _rule(r"\b(is|are|was|were|be|been) had\b", "write get, or is available"),
    _rule(r"\bwhere (there|none|nothing|nobody)\b|\b(only|also|even|except) where\b", "write if"),
)
"""Words and phrases to avoid everywhere, and what to write instead."""


def main(arguments: Sequence[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Print the findings.

    Args:
        arguments: The command line without the program's name. The default is that of this process.
        checkout: The folder that paths are relative to.

    Returns:
        The exit code: 1 if there is any finding.
    """
    parser = argparse.ArgumentParser(prog="python3 -m dev.prose", description="Check that the prose is plain English.")
    parser.add_argument("paths", nargs="*", help="files and folders (default: all that Git tracks)")
    parser.add_argument("--count", action="store_true", help="print only the number of findings per folder")
    options = parser.parse_args(arguments)
    chosen = [path.rstrip("/") for path in options.paths]
    names = [
        name
        for name in tracked_files(checkout)
        if not name.startswith(_EXCLUDED)
        and (not chosen or any(name == path or name.startswith(f"{path}/") for path in chosen))
    ]
    findings = [finding for name in names for finding in check(checkout, name)]
    if not options.count:
        for finding in findings:
            print(finding)
    if findings:
        folders = Counter(finding.path.partition("/")[0] for finding in findings)
        counts = ", ".join(f"{folder} {count}" for folder, count in sorted(folders.items()))
        print(f"{len(findings)} findings: {counts}", file=sys.stderr)
    return 1 if findings else 0


def check(checkout: Path, name: str) -> list[Finding]:
    """Return the findings in a file; none for a link or a file that is no text."""
    path = checkout / name
    if path.is_symlink() or not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    lines = text.splitlines()
    findings = []
    if path.suffix == ".py":
        try:
            ast.parse(text)
        except SyntaxError as error:
            return [Finding(name, error.lineno or 1, error.msg, "the file is not Python")]
    for passage in passages(path, text):
        rules = (START, *RULES) if passage.starts else RULES
        last = lines[min(passage.line - 1 + passage.text.count("\n"), len(lines) - 1)]
        for rule in rules:
            for match in rule.pattern.finditer(passage.text):
                start = match.start() + len(match[0]) - len(match[0].lstrip())
                line = min(passage.line + passage.text.count("\n", 0, start), len(lines))
                if ALLOW not in lines[line - 1] and ALLOW not in last:
                    findings.append(Finding(name, line, " ".join(match[0].split()), rule.advice))
    if path.name.startswith("test_") and path.suffix == ".py":
        findings += _long_names(name, text)
    return sorted(findings, key=lambda finding: finding.line)


def passages(path: Path, text: str) -> Iterator[Passage]:
    """Yield the prose of a file: all of a document, else its comments, docstrings and messages."""
    if path.suffix == ".py":
        yield from _parse_python(text)
    elif path.suffix == ".md":
        yield from _parse_markdown(text)
    elif path.name == "Pulumi.yaml":
        yield from _blocks(enumerate(text.splitlines(), start=1))
    elif path.suffix == ".go":
        yield from _comments(text, "//")
    elif path.name == "Makefile" or path.suffix in (".yaml", ".toml", ".service", ".conf") or is_shell_program(path):
        yield from _comments(text, "#")


def _parse_python(text: str) -> Iterator[Passage]:
    tree = ast.parse(text)
    documented = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    formatted = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or node in formatted:
            continue
        if node in documented:
            yield Passage(node.lineno, node.value, starts=True)
        elif len(re.findall(r"[A-Za-z]{2,}", node.value)) >= _MIN_MESSAGE_WORDS:
            yield Passage(node.lineno, _one_line(node, node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield Passage(node.lineno, _one_line(node, "".join(map(str, parts))))
    comments = [
        (token.start[0], token.string.lstrip("#"))
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    for passage in _blocks(comments):
        yield Passage(passage.line, passage.text, starts=True)


def _one_line(node: ast.expr, value: str) -> str:
    """Return the value of a literal with its line breaks only if they are those of the file."""
    breaks = (node.end_lineno or node.lineno) - node.lineno
    return value if value.count("\n") == breaks else value.replace("\n", " ")


def _parse_markdown(text: str) -> Iterator[Passage]:
    prose = []
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            # Code in a paragraph is no prose, but keeps the line's place in it.
            prose.append((number, re.sub(r"`[^`]*`", "``", line)))
    yield from _blocks(prose)


def _comments(text: str, mark: str) -> Iterator[Passage]:
    pattern = re.compile(rf"(?:^|\s){re.escape(mark)}+(?!!)(.*)$")
    found = ((number, pattern.search(line)) for number, line in enumerate(text.splitlines(), start=1))
    for passage in _blocks((number, match[1]) for number, match in found if match):
        yield Passage(passage.line, passage.text, starts=True)


def _blocks(lines: Iterable[tuple[int, str]]) -> Iterator[Passage]:
    """Yield runs of consecutive numbered lines. An empty line ends a run."""
    first, block = 0, list[str]()
    for number, line in lines:
        if block and (number != first + len(block) or not line.strip()):
            yield Passage(first, "\n".join(block))
            block = []
        if line.strip():
            first = first if block else number
            block.append(line)
    if block:
        yield Passage(first, "\n".join(block))


def _long_names(name: str, text: str) -> Iterator[Finding]:
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            words = len(node.name.split("_")) - 1
            if words > MAX_TEST_WORDS and ALLOW not in lines[node.lineno - 1]:
                yield Finding(name, node.lineno, node.name, f"{words} words; use about 8, at most {MAX_TEST_WORDS}")


if __name__ == "__main__":
    sys.exit(main())
