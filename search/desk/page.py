"""One HTML page that opens offline: its frame, its figures, its file."""

import base64
import gzip
import html
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.errors import InputError

HERE = Path(__file__).parent
STYLE, SCRIPT = HERE / "desk.css", HERE / "desk.js"


def framed(
    title: str,
    body: str,
    figures: Mapping[str, object],
    data: Mapping[str, Any] | None = None,
    state: str = "",
) -> str:
    """The whole page; `title` is text, `body` is HTML with a `slot` for each of `figures`.

    With a `state` the page asks its server for the newest one, and loads anew when it differs.

    Plotly, figures and `data` are packed (gzip), which a browser unpacks by itself: the library
    alone has five megabytes.
    """
    from plotly.offline import get_plotlyjs

    packed = {
        "plotly": get_plotlyjs(),
        "desk": json.dumps(
            {"figures": {n: _plain(f) for n, f in figures.items()}, **(data or {})}
        ),
    }
    scripts = "".join(
        f'<script type="application/gzip" id="packed-{name}">{_packed(text)}</script>'
        for name, text in packed.items()
    )
    return (
        f'<!doctype html><html lang=en data-state="{html.escape(state)}"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text()}</style><body><main>{body}</main>"
        "<noscript><p>The figures of this page need JavaScript.</p></noscript>"
        f"{scripts}<script>{SCRIPT.read_text()}</script></body></html>"
    )


def slot(name: str, label: str) -> str:
    """Where the figure `name` is drawn; `label` says to a screen reader what it shows."""
    return (
        f'<div class=figure id="figure-{name}" role=img aria-label="{html.escape(label)}"></div>'
    )


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _plain(figure: object) -> Any:
    """A plotly figure as data, in no colours of its own but those of its traces."""
    import plotly.graph_objects as go

    assert isinstance(figure, go.Figure)
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 12},
    )
    figure.update_layout(margin={"l": 64, "r": 16, "t": 48, "b": 56}, overwrite=False)
    return json.loads(figure.to_json())


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
