"""Tables as plain text that greps well."""

from __future__ import annotations

from collections.abc import Sequence


def plain_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text: columns are aligned and separated by two spaces.

    Args:
        headings: The first row, empty for none.
        rows: The cells of each row.
    """
    lines = [*([headings] if headings else []), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
