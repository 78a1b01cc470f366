"""How candidates are proposed, evaluated and kept; the only package that imports the other two.

`from search import Study` is the Python interface (`search.api`).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import Front, Study

__all__ = ["Front", "Study"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: a command that only says its help needs none of it."""
    if name in __all__:
        from search import api

        return getattr(api, name)
    raise AttributeError(f"module 'search' has no attribute {name!r}")
