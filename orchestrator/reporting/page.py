"""One HTML page that works offline: text, tables and figures in a single file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from orchestrator.reporting.tables import Table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
.wide { overflow-x: auto }
caption { text-align: left; padding: .3rem 0; color: #444 }
th { text-align: left; border-bottom: 2px solid #444; padding: .25rem .7rem .25rem 0 }
td { border-bottom: 1px solid #ddd; padding: .25rem .7rem .25rem 0; vertical-align: top }
figure { margin: 1.5rem 0 } figure img { max-width: 100%; height: auto }
figcaption { color: #444; font-size: .9rem }
.note { background: #fff4d6; padding: .5rem .8rem; border-left: 4px solid #d9a400 }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; font-size: .85rem }
summary { cursor: pointer; margin: .6rem 0 }
@media print { details > * { display: block } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def heading(text: str) -> str:
    """The beginning of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """Running text."""
    return f"<p>{escape(text)}</p>"


def note(lines: Sequence[str]) -> str:
    """What a reader must not miss; nothing for no lines."""
    return "".join(f'<p class="note">{escape(line)}</p>' for line in lines)


def table(content: Table) -> str:
    """A table with its title above and its notes below."""
    head = "".join(f"<th>{escape(column)}</th>" for column in content.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n"
        for row in content.rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(content.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>{note(content.notes)}"
    )


def picture(svg: bytes, name: str, caption: str) -> str:
    """A figure as an image inside the page: sharp at any size, and no name can collide."""
    data = base64.b64encode(svg).decode()
    return (
        f'<figure><img alt="{escape(caption, quote=True)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{escape(caption)} <small>({escape(name)}.svg, .png)</small></figcaption>"
        "</figure>"
    )


def folded(summary: str, content: str) -> str:
    """What opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def code(text: str) -> str:
    """Text as it is."""
    return f"<pre>{escape(text)}</pre>"
