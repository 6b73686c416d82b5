"""Tables with lines and colours, for a terminal. `system.tables` has those that grep well."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

BAD = "bold red"


def rich_table(
    title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], bad_rows: Collection[int] = ()
) -> Table:
    """Return a table for a terminal.

    Args:
        title: Title above the table.
        headings: Headings of the columns.
        rows: The cells of each row.
        bad_rows: Indexes of the rows that show a problem.
    """
    # Imported here, because only a terminal needs it.
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings, title=title, title_justify="left", title_style="bold")
    for index, row in enumerate(rows):
        table.add_row(*map(Text, row), style=BAD if index in bad_rows else None)
    return table
