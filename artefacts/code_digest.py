"""The digest of code: of the files that a module of the user's own is made of."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

from scratchcard.artefacts.digest import sha256

OWN = "scratchcard"
_LIBRARIES = tuple(
    Path(sysconfig.get_path(place)).resolve() for place in ("stdlib", "platstdlib", "purelib", "platlib")
)


def code_digest(path: str) -> str | None:
    """sha256 of the Python files behind `package.module:name`, where they are no part of Python itself.

    These are the module's file, or all files of the package that it lies in; then what they import, directly or not,
    that lies beside it: in the folder of the outermost package, or of a module without one. Of an installed package
    its version stands for what it imports. Nothing of it is run, not even the packages above it. None where there is no
    file.

    Examples:
        >>> _ = Path("my_network.py").write_text("from my_layers import width")
        >>> _ = Path("my_layers.py").write_text("width = 10")
        >>> before = code_digest("my_network:build")
        >>> _ = Path("my_layers.py").write_text("width = 11")
        >>> code_digest("my_network:build") == before
        False
    """
    files, installed = _code(path)
    if not files:
        return None
    parts: list[str | bytes] = []
    for file, name in files.items():
        text = file.read_bytes()
        parts += [f"{name} {len(text)}\n", text]
    if installed:
        parts.append(f"{path.partition(':')[0].partition('.')[0]} {installed}\n")
    return sha256(parts)


def code_files(path: str) -> set[Path]:
    """The files that `code_digest` reads.

    Examples:
        >>> _ = Path("my_network.py").write_text("from my_layers import width")
        >>> _ = Path("my_layers.py").write_text("width = 10")
        >>> sorted(file.name for file in code_files("my_network:build"))
        ['my_layers.py', 'my_network.py']
    """
    return {file.resolve() for file in _code(path)[0]}


def _code(path: str) -> tuple[dict[Path, str], str]:
    """The files of `package.module:name` with the names by which they count, and its version if it is installed."""
    module_name = path.partition(":")[0]
    look_in_working_folder()
    found = _spec_of(module_name)
    # A script that is run has no spec, but a file.
    origin = getattr(sys.modules.get(module_name), "__file__", None) if found is None else found.origin
    if origin is None or not Path(origin).is_file():
        return {}, ""
    file = Path(origin)
    in_package = found is not None and bool(found.parent)
    files = {each: each.name for each in (sorted(file.parent.glob("*.py")) if in_package else [file])}
    installed = installed_version(module_name.partition(".")[0], file)
    if installed:
        return files, installed
    root = file.parent
    for _ in range(found.parent.count(".") + 1 if found is not None and found.parent else 0):
        root = root.parent
    known = {each.resolve() for each in files}
    beside = {each: each.relative_to(root).as_posix() for each in _imported(list(files), root)}
    return files | {each: name for each, name in beside.items() if each.resolve() not in known}, ""


def _spec_of(module_name: str) -> ModuleSpec | None:
    """Where a module lies, as `importlib.util.find_spec` says it, which would import the packages above it."""
    known = getattr(sys.modules.get(module_name), "__spec__", None)
    if isinstance(known, ModuleSpec):
        return known
    top, *within = module_name.split(".")
    try:
        specs = (finder.find_spec(top, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        found = next((spec for spec in specs if spec is not None), None)
    except Exception:  # an odd name; said where the network is built
        return None
    name = top
    for part in within:
        if found is None:
            return None
        places = [Path(place) / part for place in found.submodule_search_locations or ()]
        name = f"{name}.{part}"
        found = next((spec for place in places if (spec := _spec_at(name, place)) is not None), None)
    return found


def _spec_at(name: str, place: Path) -> ModuleSpec | None:
    """The module or package that a path without an ending is, if any."""
    if (place / "__init__.py").is_file():
        return spec_from_file_location(name, place / "__init__.py", submodule_search_locations=[str(place)])
    if place.with_name(f"{place.name}.py").is_file():
        return spec_from_file_location(name, place.with_name(f"{place.name}.py"))
    if not place.is_dir():
        return None
    found = ModuleSpec(name, None, is_package=True)
    found.submodule_search_locations = [str(place)]
    return found


def installed_version(top: str, file: str | Path | None) -> str:
    """The version of the package that a file belongs to where it is an installed one; empty for the user's own.

    Examples:
        >>> installed_version("numpy", np.__file__) == np.__version__
        True
        >>> installed_version("mine", "mine.py")
        ''
    """
    if file is None or not is_installed(file):
        return ""
    try:
        return version(top)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(top), "__version__", "of no version"))


def is_installed(file: str | Path) -> bool:
    """Whether a file lies where Python keeps its library and installed packages.

    Examples:
        >>> is_installed(np.__file__), is_installed("mine.py")
        (True, False)
    """
    return any(Path(file).resolve().is_relative_to(place) for place in _LIBRARIES)


def foreign_code(members: Iterable[Any]) -> dict[str, str | None]:
    """Digests of the code of classes and functions that are neither this project's nor torch's, by `module:name`.

    Examples:
        >>> foreign_code([sc.SCORERS["snip"], nn.Identity, None])
        {}
        >>> list(foreign_code([Path]))
        ['pathlib:Path']
    """
    found = {}
    for member in members:
        module = "" if member is None else str(getattr(member, "__module__", ""))
        if module and module.partition(".")[0] not in (OWN, "torch"):
            path = f"{module}:{getattr(member, '__qualname__', type(member).__qualname__)}"
            found[path] = code_digest(path)
    return found


def look_in_working_folder() -> None:
    """Make modules of the working folder importable, as `python -m` does: a user's own module lies there.

    Examples:
        >>> look_in_working_folder()
        >>> "" in sys.path
        True
    """
    if "" not in sys.path:
        sys.path.insert(0, "")


def _imported(files: list[Path], root: Path) -> list[Path]:
    """The files under `root` that these import, directly or not, sorted."""
    found: set[Path] = set()
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        for name in _names(file, root):
            for each in () if name.partition(".")[0] == OWN else _files(name, root):
                if each not in found:
                    found.add(each)
                    waiting.append(each)
    return sorted(found)


def _names(file: Path, root: Path) -> Iterator[str]:
    """The modules that a file says it imports, by their whole name; perhaps names inside of them too."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError):  # said where it is imported
        return
    try:
        package = file.resolve().relative_to(root.resolve()).parent.parts
    except ValueError:
        package = ()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, (node.module,))))
            yield from filter(None, (base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)))


def _files(name: str, root: Path) -> Iterator[Path]:
    """The files of a module and of the packages above it, as far as they lie under `root`."""
    place = root
    for part in name.split("."):
        place = place / part
        for file in (place / "__init__.py", place.with_name(f"{part}.py")):
            if file.is_file():
                yield file
