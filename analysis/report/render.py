"""The page as text: one HTML file that holds its style, its scripts and its data, and may load nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from scratchcard.analysis.report.page import Data, Panels, Section


def render(title: str, sections: Sequence[Section], data: Data, source: str, version: str) -> str:
    """Sections to HTML. Foreign texts are escaped; a script that is not ours would not run (content security policy).

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
    environment.filters["datauri"] = _data_uri
    blocks = (block for section in sections for block in section.blocks)
    charts = [chart.spec for block in blocks if isinstance(block, Panels) for chart in block.charts]
    text: str = environment.from_string(_file("page.html")).render(
        title=title,
        sections=sections,
        source=source,
        version=version,
        made=time.strftime("%Y-%m-%d", time.gmtime()),
        policy=policy(library, script),
        style=Markup(style),  # noqa: S704  (our own files and the library)
        script=Markup(script),  # noqa: S704
        library=Markup(library),  # noqa: S704
        data=Markup(inline_json(data.sets)),  # noqa: S704
        charts=Markup(inline_json(charts)),  # noqa: S704
    )
    return text


def inline_json(value: Any) -> str:
    """JSON that cannot end the script element around it: `<`, `>` and `&` as escapes.

    Raises:
        ValueError: a NaN or an infinity, which JSON lacks.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


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
    bundle = (
        str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")).replace("\r\n", "\n").replace("\r", "\n")
    )
    if "</script" in bundle.lower() or "<!--" in bundle:
        # Inside a string or a regular expression both read the same with the escape.
        bundle = bundle.replace("</", "<\\/").replace("<!--", "<\\!--")
    return bundle


def _file(name: str) -> str:
    return files("scratchcard.analysis.report").joinpath(name).read_text(encoding="utf-8")


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
