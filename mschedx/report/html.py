"""What the HTML pages share: style, frame, and parts; everything inline, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .charts import Figure
from .svg import draw

STYLE = """
:root { color-scheme: light }
body { margin: 0; background: #f6f7f9; color: #1c2430;
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 960px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 26px; margin: 0 0 4px } h2 { font-size: 17px; margin: 0 0 4px }
.sub, p { color: #566170; margin: 0 0 12px; overflow-wrap: anywhere }
section { background: #fff; border: 1px solid #e2e6eb; border-radius: 8px;
          padding: 18px 20px; margin-top: 18px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px;
         margin-top: 18px }
.tile { background: #fff; border: 1px solid #e2e6eb; border-radius: 8px; padding: 12px 16px }
.tile b { display: block; font-size: 22px; font-weight: 650 } .tile span { color: #566170 }
svg { width: 100%; height: auto; display: block } svg text { font: 12px system-ui, sans-serif }
.grid { stroke: #e8ebef } .axis { stroke: #8a929c } .tick { fill: #566170 }
.label { fill: #1c2430; font-weight: 600 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: 4px 10px 4px 0;
        border-bottom: 1px solid #eef0f3; vertical-align: top } th { color: #566170 }
pre { background: #f6f7f9; border-radius: 6px; padding: 12px; overflow: auto; max-height: 480px;
      font: 12.5px/1.45 ui-monospace, Menlo, Consolas, monospace; margin: 0 }
details { margin-top: 12px } summary { cursor: pointer; color: #2463b0 }
.wide { overflow-x: auto } .wide td, .wide th { white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.small { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 18px }
.small h3 { font-size: 14px; margin: 0 } .small svg text { font-size: 14px }
"""


def document(title: str, under: str, body: str) -> str:
    """Frame a page; `under` (HTML) stands below its title."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='sub'>{under}</p>{body}</main></body></html>\n"
    )


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """Show values with what they are."""
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in pairs
    )
    return f'<div class="tiles">{inner}</div>'


def section(title: str, text: str, body: str) -> str:
    """Frame a part of a page; `title` and `text` are plain text, `body` is HTML."""
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{body}</section>"


def figure_section(figure: Figure, more: str = "") -> str:
    """Show a figure, and HTML below it."""
    chart = draw(figure.chart) if figure.chart is not None else ""
    return section(figure.title, figure.text, chart + more)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Show text in rows; all columns but the first hold numbers."""

    def row(cells: Sequence[str], tag: str) -> str:
        inner = "".join(
            f"<{tag}{' class=number' if i else ''}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f'<div class="wide"><table>{row(head, "th")}{body}</table></div>'
