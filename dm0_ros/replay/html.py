# SPDX-License-Identifier: Apache-2.0
"""Pages in one file: what all reports are put together from. Whatever is text is escaped here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

STYLE = """
:root { color-scheme: light; }
html { font-size: 15px; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2430; background: #fff; }
h1 { margin-bottom: 0; line-height: 1.25; } h2 { margin-top: 2.2rem; } h3 { margin: 0; }
table { border-collapse: collapse; margin: .6rem 0; }
td, th { padding: .25rem .8rem; border-bottom: 1px solid #d7dde5; text-align: left;
         vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
figure { margin: 0; } figcaption { font-size: .8rem; color: #5b6675; } img { max-width: 100%; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: 0 .7rem; } td, th { padding: .25rem .45rem; } }
@media print { html { font-size: 11px; } body { margin: 0; max-width: none; }
               figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


@dataclass(frozen=True)
class Number:
    """A cell with a number in it, which a browser can sort by."""

    text: str
    value: float | None = None  # None: nothing was measured


Cell = str | Number


def make_page(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """A whole page; ``body``, ``style`` and ``script`` are taken as they are."""
    tail = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body>{''.join(body)}{tail}</body></html>\n"
    )


def make_table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]], kind: str = "") -> str:
    """A table; ``head`` may be empty. A column is one of numbers where its head is one."""
    lines = ["".join(_cell(cell, "td") for cell in row) for row in rows]
    top = f"<thead><tr>{''.join(_cell(cell, 'th') for cell in head)}</tr></thead>" if head else ""
    named = f' class="{kind}"' if kind else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div class=wide><table{named}>{top}<tbody>{body}</tbody></table></div>"


def make_facts(facts: Iterable[tuple[str, str]]) -> str:
    """A table of names and what they are."""
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts)
    return f"<div class=wide><table>{rows}</table></div>"


def _cell(cell: Cell, tag: str) -> str:
    if isinstance(cell, str):
        return f"<{tag}>{escape(cell)}</{tag}>"
    order = "" if cell.value is None else f" data-value={cell.value:.9g}"
    return f"<{tag} class=number{order}>{escape(cell.text)}</{tag}>"


def embed(data: bytes, kind: str, text: str) -> str:
    """A picture inside the page: ``kind`` png, jpeg or svg+xml; ``text`` for who cannot see it."""
    encoded = b64encode(data).decode()
    return f'<img alt="{escape(text)}" src="data:image/{kind};base64,{encoded}">'


def embed_picture(picture: np.ndarray, text: str) -> str:
    """A picture (height, width, 3) uint8 RGB, as JPEG."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "jpeg", quality=80)
    return embed(buffer.getvalue(), "jpeg", text)
