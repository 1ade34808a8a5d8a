"""The site's build: pages that lie outside of docs/ (results, CHANGELOG, CONTRIBUTING) become pages of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *(f"results/**/*.{ending}" for ending in ("md", "png", "txt", "json", "tar.xz")),
)
_UP = re.compile(r"(\]\()\.\./(?=(?:results|benchmarks)/|CHANGELOG|CONTRIBUTING)")


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside of docs/, under its own path."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that go up, out of docs/, stay within the site; those of outside pages into docs/ come back."""
    name = page.file.src_uri
    if name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        return markdown.replace("](docs/", "](")
    return _UP.sub(r"\1", markdown) if "/" not in name else markdown
