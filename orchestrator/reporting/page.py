"""One HTML page that works offline: text, tables and figures in a single file."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

from orchestrator.reporting.tables import Table

_STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --dim: #444; --line: #ddd;
        --code: #f5f5f5; --note: #fff4d6; --link: #0b57a4 }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e4e4e4; --back: #181a1c; --dim: #b4b4b4; --line: #3c4043; --code: #24272a;
          --note: #3d3213; --link: #8ab8f0 }
  figure img { border-radius: 4px; padding: .4rem; box-sizing: border-box }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
       max-width: 76rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
p { max-width: 62rem } a { color: var(--link) }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .2rem 1.4rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
.wide { overflow-x: auto }
caption { text-align: left; padding: .3rem 0; color: var(--dim) }
th { text-align: left; border-bottom: 2px solid var(--dim); padding: .25rem .7rem .25rem 0 }
td { border-bottom: 1px solid var(--line); padding: .25rem .7rem .25rem 0; vertical-align: top;
     overflow-wrap: normal }
figure { margin: 1.5rem 0 }
figure img { min-width: min(100%, 46rem); max-width: 100%; height: auto; background: #fff }
figcaption { color: var(--dim); font-size: .9rem; max-width: 62rem }
.note { background: var(--note); padding: .5rem .8rem; border-left: 4px solid #d9a400 }
pre { background: var(--code); padding: .8rem; overflow-x: auto; font-size: .85rem }
summary { cursor: pointer; margin: .6rem 0 }
@media print {
  body { max-width: none; margin: 0; font-size: 10pt } nav { display: none }
  h2 { break-after: avoid } figure, tr { break-inside: avoid }
  .wide { overflow: visible } pre { white-space: pre-wrap }
  details > * { display: block } details::details-content { content-visibility: visible }
}
"""
# A figure is drawn on white, so it keeps a white ground in the dark.


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
    """The beginning of a section, which `contents` links to."""
    return f'<h2 id="{_anchor(text)}">{escape(text)}</h2>'


def contents(headings: Sequence[str]) -> str:
    """Links to the sections with these headings."""
    links = (f'<li><a href="#{_anchor(text)}">{escape(text)}</a></li>' for text in headings)
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


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
