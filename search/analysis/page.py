"""Findings as one HTML page: the summary, the roofline, the tables."""

import html

from search.analysis.figure import roofline_figure
from search.analysis.findings import Findings
from search.analysis.sheets import Sheet, sheets, summary
from search.desk.page import framed, slot


def page(found: Findings) -> str:
    """The whole page; it opens offline."""
    title = html.escape(found.subject.title)
    lines = "".join(
        f"<tr><td class=dim>{what}<td>{html.escape(text)}" for what, text in summary(found)
    )
    body = (
        f"<h1 style=overflow-wrap:anywhere>{title}</h1>"
        f"<div class=wide><table>{lines}</table></div>"
        f"<h2>The roofline</h2><div class=figures>{slot('roofline', 'the roofline')}</div>"
        + "".join(_table(sheet) for sheet in sheets(found))
    )
    return framed(found.subject.title, body, {"roofline": roofline_figure(found)})


def _table(sheet: Sheet) -> str:
    head = _row(sheet, sheet.heads, "th")
    rows = "".join(_row(sheet, row, "td") for row in sheet.rows)
    caption = html.escape(sheet.caption[:1].upper() + sheet.caption[1:])
    return (
        f"<h2>{html.escape(sheet.title)}</h2><p class=dim>{caption}.</p>"
        f"<div class=wide><table>{head}{rows}</table></div>"
    )


def _row(sheet: Sheet, cells: tuple[str, ...], tag: str) -> str:
    numbers = ("" if index < sheet.texts else " class=number" for index in range(len(cells)))
    return "<tr>" + "".join(
        f"<{tag}{number}>{html.escape(cell)}" for number, cell in zip(numbers, cells, strict=True)
    )
