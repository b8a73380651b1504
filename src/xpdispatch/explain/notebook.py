"""The report and the picture as HTML that needs nothing else: it takes its colors from the page it stands in."""

from __future__ import annotations

from html import escape

from xpdispatch.explain.answer import Answer
from xpdispatch.explain.canvas import svg
from xpdispatch.explain.picture import picture
from xpdispatch.explain.sentences import Table, assumptions, facts_of, tables_of, where_of

_STYLE = """
.xpd-explained { font: 14px/1.45 system-ui, sans-serif; color: inherit; }
.xpd-explained code { font-family: ui-monospace, monospace; background: none; color: inherit; }
.xpd-explained table { border-collapse: collapse; margin: 0.7em 0; background: none; }
.xpd-explained tr { background: none; }
.xpd-explained th, .xpd-explained td { padding: 0.2em 0.9em 0.2em 0; border: 0; text-align: left; color: inherit; }
.xpd-explained thead th { border-bottom: 1px solid rgba(128, 128, 128, 0.6); font-weight: 600; }
.xpd-explained tbody tr + tr td { border-top: 1px solid rgba(128, 128, 128, 0.25); }
.xpd-explained .n { text-align: right; font-variant-numeric: tabular-nums; }
.xpd-explained .note { opacity: 0.75; margin: 0.15em 0; max-width: 60em; }
.xpd-explained .picture { overflow-x: auto; margin: 0.7em 0; }
.xpd-explained svg { max-width: none; }
"""


def as_html(answer: Answer) -> str:
    """A fragment for a notebook."""
    name, notation = map(escape, answer.question.title)
    parts = [
        f"<style>{_STYLE}</style>",
        '<div class="xpd-explained">',
        f"<div><strong>{name}</strong>: <code>{notation}</code></div>",
        f"<div>{escape(where_of(answer))}</div>",
    ]
    if not answer.question.plan.empty:
        parts.append(f'<div class="picture">{svg(picture(answer, titled=False))}</div>')
    parts += map(_table, tables_of(answer))
    rows = "".join(f"<tr><td><strong>{escape(a)}</strong></td><td>{escape(b)}</td></tr>" for a, b in facts_of(answer))
    parts.append(f"<table><tbody>{rows}</tbody></table>")
    parts += [f'<p class="note">{escape(note)}</p>' for note in assumptions(answer)]
    return "\n".join([*parts, "</div>"])


def _table(table: Table) -> str:
    def tagged(row: tuple[str, ...], tag: str) -> str:
        found = []
        for c, text in enumerate(row):
            css = ' class="n"' if c in table.right else ""
            shown = f"<code>{escape(text)}</code>" if c == 0 and tag == "td" else escape(text)
            found.append(f"<{tag}{css}>{shown}</{tag}>")
        return f"<tr>{''.join(found)}</tr>"

    body = "".join(tagged(row, "td") for row in table.rows)
    return f"<table><thead>{tagged(table.head, 'th')}</thead><tbody>{body}</tbody></table>"


def as_page(answer: Answer) -> str:
    """A page of its own, light or dark as the reader's system is."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(': '.join(answer.question.title))}</title>\n"
        "<style>:root { color-scheme: light dark; } "
        "body { margin: 2em; background: Canvas; color: CanvasText; }</style>\n"
        f"</head>\n<body>\n{as_html(answer)}\n</body>\n</html>\n"
    )
