"""The report of an explanation as plain text, and as tables for a terminal."""

from __future__ import annotations

from typing import Any

from xpdispatch.explain.report import Report


def as_text(said: Report) -> str:
    """Plain text, aligned in columns."""
    lines = [f"{said.name}: {said.notation}", said.where]
    for table in said.tables:
        rows = [table.head, *table.rows]
        widths = [max(len(row[c]) for row in rows) for c in range(len(table.head))]
        lines.append("")
        for row in rows:
            cells = [
                text.rjust(w) if c in table.right else text.ljust(w)
                for c, (text, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  " + "  ".join(cells).rstrip())
    if said.facts:
        width = max(len(label) for label, _ in said.facts)
        lines += ["", *(f"  {label.ljust(width)}  {text}" for label, text in said.facts)]
    lines += ["", *(f"  - {note}" for note in said.notes)]
    return "\n".join(lines)


def as_rich(said: Report) -> Any:
    """The same for a terminal, by rich."""
    from rich import box
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table as Rich
    from rich.text import Text

    parts: list[Any] = [Text.assemble((said.name, "bold"), ": ", (said.notation, "cyan")), Text(said.where)]
    for table in said.tables:
        drawn = Rich(box=box.SIMPLE_HEAD, pad_edge=False)
        for c, head in enumerate(table.head):
            drawn.add_column(head, justify="right" if c in table.right else "left")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        parts.append(drawn)
    facts = Rich.grid(padding=(0, 2))
    for label, text in said.facts:
        facts.add_row(Text(label, style="bold"), Text(text))
    parts.append(facts)
    parts += [Padding(Text(note, style="dim"), (1 if n == 0 else 0, 0, 0, 0)) for n, note in enumerate(said.notes)]
    return Group(*parts)
