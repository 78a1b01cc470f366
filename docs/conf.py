"""The documentation as a site: `make docs` writes it to docs/_build."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

project = "Paretune"
author = "the founders of Paretune"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "Paretune"
html_static_path = ["_static"]
html_js_files = ["reachable.js"]
html_show_sourcelink = False
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r".*")]  # types of other projects, whose sites are elsewhere
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)]+)\)")


def shown_as_code(text: str, folder: Path) -> str:
    """`text` of a page in `folder`, whose links to files beside `docs/` are plain names.

    They lead somewhere where the sources are read, not on the site.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def plain(link: re.Match[str]) -> str:
        path = (folder / link[2].partition("#")[0]).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return link[0]
        if not path.exists():
            raise FileNotFoundError(f"{link[0]} leads nowhere")
        return link[1] if link[1].startswith("`") else f"`{link[1]}`"

    return _LINK.sub(plain, text)


def setup(app: Any) -> None:
    """Sphinx calls it."""

    def read(app: Any, name: str, source: list[str]) -> None:
        source[0] = shown_as_code(source[0], Path(app.env.doc2path(name)).parent)

    app.connect("source-read", read)
