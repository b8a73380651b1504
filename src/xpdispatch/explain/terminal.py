"""An answer as plain text, and as tables for a terminal."""

from __future__ import annotations

from typing import Any

from xpdispatch.explain.answer import Answer
from xpdispatch.explain.sentences import assumptions, facts_of, tables_of, where_of


def as_text(answer: Answer) -> str:
    """Plain text, aligned in columns."""
    lines = [": ".join(answer.question.title), where_of(answer)]
    for table in tables_of(answer):
        rows = [table.head, *table.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines.append("")
        for row in rows:
            padded = [
                text.rjust(w) if c in table.right else text.ljust(w)
                for c, (text, w) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  " + "  ".join(padded).rstrip())
    facts = list(facts_of(answer))
    if facts:
        width = max(len(label) for label, _ in facts)
        lines += ["", *(f"  {label.ljust(width)}  {text}" for label, text in facts)]
    return "\n".join([*lines, "", *(f"  - {note}" for note in assumptions(answer))])


def as_rich(answer: Answer) -> Any:
    """The same for a terminal, by rich."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    name, notation = answer.question.title
    parts: list[Any] = [Text.assemble((name, "bold"), ": ", (notation, "cyan")), Text(where_of(answer))]
    for table in tables_of(answer):
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for c, head in enumerate(table.head):
            drawn.add_column(head, justify="right" if c in table.right else "left")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        parts.append(drawn)
    facts = Table.grid(padding=(0, 2))
    for label, text in facts_of(answer):
        facts.add_row(Text(label, style="bold"), Text(text))
    return Group(*parts, facts, Text(), *(Text(note, style="dim") for note in assumptions(answer)))
