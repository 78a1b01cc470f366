"""Findings as one HTML page: the summary, the roofline, the tables."""

import html

from search.analysis.figure import roofline_figure
from search.analysis.findings import Findings
from search.analysis.sheets import Sheet, sheets, summary
from search.desk.page import framed, slot
from search.desk.tables import facts, table


def page(found: Findings) -> str:
    """The whole page; it opens offline."""
    title = html.escape(found.subject.title)
    body = (
        f"<h1>{title}</h1>{facts(summary(found))}"
        f"<h2>The roofline</h2><div class=figures>{slot('roofline', 'the roofline')}</div>"
        + "".join(_section(sheet) for sheet in sheets(found))
    )
    return framed(found.subject.title, body, {"roofline": roofline_figure(found)})


def _section(sheet: Sheet) -> str:
    caption = html.escape(sheet.caption[:1].upper() + sheet.caption[1:])
    rows = table(sheet.heads, sheet.rows, texts=range(sheet.texts))
    return f"<h2>{html.escape(sheet.title)}</h2><p class=dim>{caption}.</p>{rows}"
