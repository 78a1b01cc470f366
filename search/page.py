"""One HTML page that opens offline: its frame, its figures, its file."""

import html
import os
from contextlib import suppress
from pathlib import Path

from search.errors import InputError

STYLE = Path(__file__).with_name("report.css")


def framed(title: str, body: str) -> str:
    """The whole page, style and plotly inside; `title` is text, `body` is HTML."""
    from plotly.offline import get_plotlyjs

    # figures are drawn while the page is still short: fit them once it stands
    fit = "<script>window.dispatchEvent(new Event('resize'))</script>"
    return (
        f'<!doctype html><html lang=en><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text()}</style><script>{get_plotlyjs()}</script>"
        f"<body>{body}\n{fit}</body></html>"
    )


def drawn(figure: object) -> str:
    """A plotly figure as HTML for a framed page, in colours that fit a light and a dark one."""
    import plotly.graph_objects as go

    assert isinstance(figure, go.Figure)
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "#7a8594", "size": 12},
        margin={"l": 64, "r": 16, "t": 48, "b": 56},
    )
    figure.update_xaxes(gridcolor="rgba(128,140,155,.25)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,140,155,.25)", zeroline=False)
    # plotly's to_html is untyped
    text: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displayModeBar": False, "responsive": True},
    )
    return f"<div>{text}</div>"


def write_page(text: str, path: Path, *, place: str, remedy: str = "") -> None:
    """Write the page; whole or not at all. An error begins with `place`, ends with `remedy`.

    Raises:
        InputError: the folder cannot be written.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")  # another run may write it, too
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        told = f"{place} {path}: cannot be written: {error.strerror}{remedy}"
        raise InputError(told) from error
