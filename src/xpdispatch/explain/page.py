"""An explanation as HTML that needs nothing else: it takes its colors from the page it stands in."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from xpdispatch.explain.pictures import picture
from xpdispatch.explain.scene import svg
from xpdispatch.explain.words import Table, report

if TYPE_CHECKING:
    from xpdispatch.explain.explanation import Explanation

_STYLE = """
.xpd-told { font: 14px/1.45 system-ui, sans-serif; color: inherit; }
.xpd-told code { font-family: ui-monospace, monospace; background: none; color: inherit; }
.xpd-told table { border-collapse: collapse; margin: 0.7em 0; background: none; }
.xpd-told tr { background: none; }
.xpd-told th, .xpd-told td { padding: 0.2em 0.9em 0.2em 0; border: 0; text-align: left; color: inherit; }
.xpd-told thead th { border-bottom: 1px solid rgba(128, 128, 128, 0.6); font-weight: 600; }
.xpd-told tbody tr + tr td { border-top: 1px solid rgba(128, 128, 128, 0.25); }
.xpd-told .n { text-align: right; font-variant-numeric: tabular-nums; }
.xpd-told .note { opacity: 0.75; margin: 0.15em 0; max-width: 60em; }
.xpd-told .picture { overflow-x: auto; margin: 0.7em 0; }
.xpd-told svg { max-width: none; }
"""


def as_html(told: Explanation) -> str:
    """A fragment for a notebook."""
    said = report(told)
    parts = [
        f"<style>{_STYLE}</style>",
        '<div class="xpd-told">',
        f"<div><strong>{escape(said.name)}</strong>: <code>{escape(said.notation)}</code></div>",
        f"<div>{escape(said.where)}</div>",
    ]
    if not told.question.plan.empty:
        parts.append(f'<div class="picture">{svg(picture(told, titled=False))}</div>')
    parts += map(_table, said.tables)
    if said.facts:
        rows = "".join(f"<tr><td><strong>{escape(a)}</strong></td><td>{escape(b)}</td></tr>" for a, b in said.facts)
        parts.append(f"<table><tbody>{rows}</tbody></table>")
    parts += [f'<p class="note">{escape(note)}</p>' for note in said.notes]
    return "\n".join([*parts, "</div>"])


def _table(table: Table) -> str:
    def cells(row: tuple[str, ...], tag: str) -> str:
        found = []
        for c, text in enumerate(row):
            css = ' class="n"' if c in table.right else ""
            shown = f"<code>{escape(text)}</code>" if c == 0 and tag == "td" else escape(text)
            found.append(f"<{tag}{css}>{shown}</{tag}>")
        return f"<tr>{''.join(found)}</tr>"

    body = "".join(cells(row, "td") for row in table.rows)
    return f"<table><thead>{cells(table.head, 'th')}</thead><tbody>{body}</tbody></table>"


def as_page(told: Explanation) -> str:
    """A whole page, light or dark as the reader's system is."""
    title = f"{told.question.definition.name}: {told.question.definition.notation}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        "<style>:root { color-scheme: light dark; } "
        "body { margin: 2em; background: Canvas; color: CanvasText; }</style>\n"
        f"</head>\n<body>\n{as_html(told)}\n</body>\n</html>\n"
    )
