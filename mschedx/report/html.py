"""What the HTML pages share: style, frame, and parts; everything inline, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .charts import Figure
from .svg import draw

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --paper: #fff; --ink: #1c2430; --quiet: #566170;
        --edge: #e2e6eb; --faint: #e8ebef; --axis: #8a929c; --link: #2463b0 }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181d; --paper: #1c2128; --ink: #e3e7ec; --quiet: #9aa5b1; --edge: #323a44;
          --faint: #2b323b; --axis: #78828d; --link: #79b0f2 }
  svg [fill="#2463b0"] { fill: #5c9bea } svg [stroke="#2463b0"] { stroke: #5c9bea }
  svg [fill="#333"] { fill: var(--ink) }
}
body { margin: 0; background: var(--page); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 960px; margin: 0 auto; padding: 32px 20px 64px }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere }
h2 { font-size: 17px; margin: 0 0 4px }
.sub, p { color: var(--quiet); margin: 0 0 12px; overflow-wrap: anywhere }
section { background: var(--paper); border: 1px solid var(--edge); border-radius: 8px;
          padding: 18px 20px; margin-top: 18px }
.failed { border-color: #c0392b } .failed h2 { color: #c0392b }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px;
         margin-top: 18px }
.tile { background: var(--paper); border: 1px solid var(--edge); border-radius: 8px;
        padding: 12px 16px }
.tile b { display: block; font-size: 22px; font-weight: 650 } .tile span { color: var(--quiet) }
svg { width: 100%; height: auto; display: block } svg text { font: 12px system-ui, sans-serif }
.grid { stroke: var(--faint) } .axis { stroke: var(--axis) } .tick { fill: var(--quiet) }
.label { fill: var(--ink); font-weight: 600 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: 4px 10px 4px 0;
        border-bottom: 1px solid var(--faint); vertical-align: top } th { color: var(--quiet) }
pre { background: var(--page); border-radius: 6px; padding: 12px; overflow: auto; max-height: 480px;
      font: 12.5px/1.45 ui-monospace, Menlo, Consolas, monospace; margin: 0 }
details { margin-top: 12px } summary { cursor: pointer; color: var(--link) }
.wide { overflow-x: auto } .wide td, .wide th { white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.sortable th { cursor: pointer }
.small { display: grid; gap: 18px;
         grid-template-columns: repeat(auto-fit, minmax(min(380px, 100%), 1fr)) }
.small h3 { font-size: 14px; margin: 0 } .small svg text { font-size: 14px }
@media (max-width: 560px) {
  main { padding: 16px 10px 40px } section { padding: 12px } h1 { font-size: 20px }
  section > svg { min-width: 560px } section:has(> svg) { overflow-x: auto }
}
"""


# Rows by what a column holds: numbers as numbers, empty cells last.
_SORT = """
document.querySelectorAll(".sortable th").forEach(function (head) {
  head.addEventListener("click", function () {
    var table = head.closest("table"), column = head.cellIndex, down = head.dataset.down !== "1";
    head.dataset.down = down ? "1" : "0";
    function key(row) { var text = row.cells[column].dataset.by || row.cells[column].textContent;
      return text === "" ? null : isNaN(text) ? text : Number(text); }
    Array.from(table.rows).slice(1).sort(function (a, b) {
      var x = key(a), y = key(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? 1 : -1);
    }).forEach(function (row) { table.tBodies[0].appendChild(row); });
  });
});
"""


def document(title: str, under: str, body: str) -> str:
    """Frame a page; `under` (HTML) stands below its title."""
    script = f"<script>{_SORT}</script>" if 'class="sortable"' in body else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='sub'>{under}</p>{body}</main>{script}</body></html>\n"
    )


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """Show values with what they are."""
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in pairs
    )
    return f'<div class="tiles">{inner}</div>'


def section(title: str, text: str, body: str, *, failed: bool = False) -> str:
    """Frame a part of a page; `title` and `text` are plain text, `body` is HTML."""
    kind = " class='failed'" if failed else ""
    return f"<section{kind}><h2>{escape(title)}</h2><p>{escape(text)}</p>{body}</section>"


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


def sortable_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Show text in rows that a click on a heading sorts."""
    titles = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in rows
    )
    table = f'<table class="sortable"><tbody><tr>{titles}</tr>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'
