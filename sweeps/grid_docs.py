"""The rows of docs/grids.md that come from the declarations of settings: `python -m scratchcard.sweeps.grid_docs`."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from scratchcard.apply.method import Method
from scratchcard.dataset_builder.recording import Recording
from scratchcard.regimes import REGIMES, default_told, regime_settings
from scratchcard.setting import Setting, shown
from scratchcard.settings import settings_of
from scratchcard.sweeps.grid_file import method_keys
from scratchcard.workloads.recipe import Recipe

PAGE = Path(__file__).parents[1] / "docs" / "grids.md"


def rows(part: str) -> list[str]:
    """The rows of `methods`, `recipe` or `table`.

    Examples:
        >>> rows("recipe")[1]
        '| `learning_rate` | number | 0.1 | of a step, the highest where it is scheduled, e.g. `0.05` |'
    """
    if part == "recipe":
        return [_row(declared) for declared in settings_of(Recipe).values()]
    kind = Method if part == "methods" else Recording
    own = [
        _row(each, more=" or list" if part == "methods" else "")
        for name, each in settings_of(kind).items()
        if kind is Recording or name in method_keys()
    ]
    return own + [_regime_row(declared, part == "methods") for declared in regime_settings().values()]


def written(page: str) -> str:
    """The page with the rows between its marks, `<!-- methods -->` to `<!-- end -->`, made anew.

    Examples:
        >>> written("Before <!-- recipe --> old <!-- end --> after").count("`max_steps`")
        1
    """

    def anew(found: re.Match[str]) -> str:
        head = "| key | type | default | meaning |\n|---|---|---|---|"
        return "\n".join([f"<!-- {found[1]} -->", head, *rows(found[1]), "<!-- end -->"])

    return re.sub(r"<!-- (methods|recipe|table) -->.*?<!-- end -->", anew, page, flags=re.DOTALL)


def _regime_row(declared: Mapping[str, Setting], lists: bool) -> str:
    only = "" if len(declared) == len(REGIMES) else f"{', '.join(declared)}: "
    return _row(next(iter(declared.values())), only, default_told(declared), " or list" if lists else "")


def _row(declared: Setting, only: str = "", default: str | None = None, more: str = "") -> str:
    value = declared.default
    plain = declared.unset is None and isinstance(value, str) and default is None
    told = "required" if value is dataclasses.MISSING else f'`"{value}"`' if plain else default or declared.told
    meaning = only + declared.phrase
    if declared.example is not None:
        quoted = isinstance(declared.example, str) or (
            isinstance(declared.example, tuple) and isinstance(declared.example[0], str)
        )
        example = json.dumps(declared.example) if quoted else shown(declared.example)
        meaning += f", e.g. `{example}`"
    kind = declared.kind.replace("function", "table").replace(" or regime", "")  # objects of Python
    more = ", or list of such" if more and kind.startswith("list") else more
    return f"| `{declared.name}` | {kind}{more} | {told} | {meaning} |"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
    sys.exit(0)
