"""Pages that need nothing else: no network, no other file.

What they show is somebody else's. The templates in web/ escape it, and a page's own policy
(Content-Security-Policy) lets nothing be loaded, and nothing run but its own script, known by its
hash."""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .wording import Lang, say

_WEB = Path(__file__).parent / "web"


def render(
    template: str,
    content: Mapping[str, Any],
    *,
    lang: Lang,
    scripts: Sequence[str],
    filters: Mapping[str, Callable[..., Any]] | None = None,
    inline_styles: bool = False,
) -> str:
    """Write a page.

    template (str): A file of web/; it asks for words by `t`.
    content (Mapping[str, Any]): What it shows.
    lang (str): "ja", "en", or "auto": what the browser speaks.
    scripts (Sequence[str]): Files of web/, in their order.
    filters (Mapping | None): What the template writes numbers and names by.
    inline_styles (bool): Whether elements may have styles of their own, as foreign SVG has.
    RETURNS (str): HTML.
    """
    environment = Environment(
        loader=FileSystemLoader(_WEB),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    environment.globals["t"] = say
    environment.filters |= filters or {}
    style = _read("page.css")
    script = "\n".join(map(_read, scripts))
    styles = "'unsafe-inline'" if inline_styles else _hash(style)
    return environment.get_template(template).render(
        content,
        lang=lang,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {styles}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
    )


def _read(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
