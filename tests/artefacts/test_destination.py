"""Places: what can be written to passes without a trace, all else is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from scratchcard.artefacts.destination import check_destination


def test_good_places_pass_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    check_destination(tmp_path / "new")
    check_destination(tmp_path / "file")
    check_destination(tmp_path / "far" / "away" / "new")
    check_destination(tmp_path / "folder", "folder")
    check_destination(tmp_path / "new", "folder")
    check_destination(tmp_path / "far" / "away", "folder")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_relative_name_is_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_destination("new")
    check_destination("new/er", "folder")


def test_bad_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match="is a folder, expected the name of a file"):
        check_destination(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file, expected the name of a folder"):
        check_destination(tmp_path / "file", "folder")
    with pytest.raises(NotADirectoryError, match="file is not a folder"):
        check_destination(tmp_path / "file" / "deep" / "new")

    def deny(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("scratchcard.artefacts.destination.tempfile.TemporaryFile", deny)
    with pytest.raises(PermissionError, match=r"nothing can be written to .* \(Permission denied\)"):
        check_destination(tmp_path / "new")
