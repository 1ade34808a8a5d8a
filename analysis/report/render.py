"""The page as text: one HTML file that holds its style, its scripts and its data, and may load nothing.

What is folded away is packed: gzip and base64 of JSON with the part's HTML, its charts and their data. So is Vega, the
library that draws. The page's script unpacks each when it is asked for.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from scratchcard.analysis.report.page import Part


def render(title: str, first: Part, parts: Sequence[Part], source: str, version: str, *, single: bool = False) -> str:
    """Parts to HTML. Foreign texts are escaped; a script that is not ours would not run (content security policy).

    Args:
        title: of the page.
        first: the verdict, in plain HTML.
        parts: below it, folded and packed.
        source: what it is made from.
        version: of this package.
        single: whether the first of the parts stands open, as the only grid does.

    Raises:
        ValueError: altair's Vega bundle (vl-convert) or Jinja is not installed.
    """
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise ValueError("reports need Jinja: pip install 'scratchcard[report]'") from error
    library, script, style = vega(), _file("page.js"), _file("page.css")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(_file("page.html"))

    def pack(part: Part, html: str) -> str:
        told = {"html": html, "charts": [chart.spec for chart in part.charts], "sets": part.data.sets}
        return packed(json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":")))

    text: str = template.render(
        only=None,
        title=title,
        first=first,
        parts=parts,
        single=single,
        packs=[pack(first, ""), *(pack(part, template.render(only=part.sections).strip()) for part in parts)],
        source=source,
        version=version,
        made=time.strftime("%Y-%m-%d", time.gmtime()),
        policy=policy(library, script),
        style=Markup(style),  # noqa: S704  (our own files)
        script=Markup(script),  # noqa: S704
        library=packed(library),
    )
    return text


def packed(text: str) -> str:
    """gzip and base64 of a text, the same each time; no character of it can end an element of HTML.

    >>> packed("scratchcard") == packed("scratchcard")
    True
    """
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def policy(*scripts: str) -> str:
    """The content security policy: nothing from the network, no script but these, no `eval`."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    parts = ("default-src 'none'", f"script-src {hashes}", "style-src 'unsafe-inline'", "img-src data:")
    return "; ".join((*parts, "base-uri 'none'", "form-action 'none'"))


@cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script.

    Raises:
        ValueError: vl-convert is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise ValueError("reports need vl-convert: pip install 'scratchcard[report]'") from error
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _file(name: str) -> str:
    return files("scratchcard.analysis.report").joinpath(name).read_text(encoding="utf-8")
