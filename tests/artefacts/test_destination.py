"""Places: what can be written to passes without a trace, all else is refused in one sentence."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from scratchcard.artefacts.destination import check_destination, check_own, destination
from scratchcard.artefacts.files import remove_unfinished, written_beside
from scratchcard.artefacts.process import here


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


def make_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's name may have 107 letters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is a named pipe, expected the name of a file to write"),
        (make_socket, "is a socket, expected the name of a file to write"),
        (Path.mkdir, "is a folder, expected the name of a file to write"),
    ],
)
@pytest.mark.parametrize("through", ["itself", "a link"])
def test_only_regular_files_are_replaced(
    tmp_path: Path, make: Callable[[Path], None], message: str, through: str
) -> None:
    place = tmp_path / "place"
    make(place)
    named = place
    if through == "a link":
        named = tmp_path / "link"
        named.symlink_to(place)
    before = place.lstat()
    with pytest.raises(OSError, match=f"{named.name} {message}"):
        check_destination(named)
    with pytest.raises(OSError, match=message), written_beside(named):
        pytest.fail("the work began")
    assert (place.lstat().st_mode, place.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert sorted(tmp_path.iterdir()) == sorted({place, named})


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_a_device_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    place = tmp_path / "device"
    place.touch()
    real = os.stat

    def as_device(path: object, **how: object) -> object:
        found = real(path, **how)  # type: ignore[call-overload]
        if str(path) != str(place):
            return found
        return os.stat_result((kind | 0o666, *found[1:]))

    monkeypatch.setattr("scratchcard.artefacts.destination.os.stat", as_device)
    with pytest.raises(FileExistsError, match="is a device, expected the name of a file"):
        destination(place)


def test_what_comes_there_during_the_work_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "place"

    def write() -> None:
        with written_beside(place) as beside:
            beside.write_text("new")
            os.mkfifo(place)

    with pytest.raises(FileExistsError, match="is a named pipe"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert stat.S_ISFIFO(place.stat().st_mode)


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    target, link, other = far / "target.txt", tmp_path / "link.txt", tmp_path / "other.txt"
    link.symlink_to("far/target.txt")
    other.symlink_to(link)
    for text in ("made through the link", "replaced through the link"):
        with written_beside(other) as beside:
            assert beside.parent == far  # so that renaming it is atomic
            beside.write_text(text)
        assert target.read_text() == text
    assert os.readlink(link) == "far/target.txt"
    assert other.is_symlink()
    assert not target.is_symlink()


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="is a symbolic link that leads nowhere"):
        check_destination(tmp_path / "a")


def test_a_write_protected_file_stays_and_a_replaced_one_leaves_its_mode(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.write_text("mine")
    place.chmod(0o600)
    with written_beside(place) as beside:
        beside.write_text("new")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    place.chmod(0o444)
    with pytest.raises(PermissionError, match="is write-protected"), written_beside(place):
        pytest.fail("the work began")
    assert place.read_text() == "new"


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    check_own(tmp_path / "new", "a table", lambda _: False)
    check_own(tmp_path, "a table", lambda _: False)
    (tmp_path / ".DS_Store").touch()
    check_own(tmp_path, "a table", lambda _: False)
    for name in "abcd":
        (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match=r"is not a table but holds 4 files of another kind \(a, b, c \.\.\.\); "):
        check_own(tmp_path, "a table", lambda _: False)
    check_own(tmp_path, "a table", lambda folder: (folder / "a").exists())
    with pytest.raises(NotADirectoryError, match="a is a file"):
        check_own(tmp_path / "a", "a table", lambda _: True)


def test_what_dead_processes_left_is_removed_at_once_and_nothing_else(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    number = 2**30  # no system has such a process
    left = deep / f".a.{here()}-{number}-00000000.part.json"
    others = deep / f".b.ffffffff-{number}-00000000.part.json"  # of another machine
    users = deep / ".c.part.json"
    for path in (left, others, users):
        path.touch()
    with written_beside(deep / "d.json") as ours:
        ours.touch()
        remove_unfinished(tmp_path)
        assert sorted(deep.iterdir()) == sorted([others, users, ours])
    for path in (others, users):
        os.utime(path, (0, 0))
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in deep.iterdir()) == [users.name, "d.json"]


def test_many_writers_of_one_file_leave_one_that_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "place"

    def write(text: str) -> None:
        for _ in range(50):
            with written_beside(place) as beside:
                beside.write_text(text * 1000)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = place.read_text()
    assert len(found) == 1000
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
