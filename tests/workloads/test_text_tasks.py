"""Tasks of texts: their files, their splits, the vocabulary of the training texts alone, damaged and odd input."""

from __future__ import annotations

import gzip
import io
import pickle
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils import Bunch

from scratchcard.setting import SettingError
from scratchcard.workloads.encoding import Encoding
from scratchcard.workloads.tasks import load_task, newsgroups, text_files
from scratchcard.workloads.tasks.movie_reviews import movie_reviews
from scratchcard.workloads.tasks.reuters import reuters
from scratchcard.workloads.tasks.texts import Labelled, TextOptions, text_task, validation_cut
from scratchcard.workloads.text_encoding import PADDING, UNKNOWN, TextEncoding


@pytest.fixture(autouse=True)
def _no_data_of_this_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if "slow" not in request.keywords:
        monkeypatch.delenv("SCRATCHCARD_DATA", raising=False)
        monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "no_cache"))


def folder_of(files: Mapping[str, str | bytes], path: Path) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def archive_of(files: Mapping[str, str | bytes], path: Path) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


PETS = {f"{kind}/{n}.txt": f"{kind} number {n} said hello" for kind in ("cats", "dogs") for n in range(20)}


def test_words_are_counted_in_the_training_texts_alone_and_stand_by_frequency() -> None:
    train = Labelled(("b b a", "c a") * 10, ((0,), (1,)) * 10)
    other = Labelled(("secret secret a",) * 3, ((0,),) * 3)
    task = text_task("t", train, other, TextOptions(words=10, least=1, length=4), ("x", "y"), validation=other)
    text = task.encoding.text
    assert text is not None
    assert text.vocabulary == ("<padding>", "<unknown>", "a", "b", "c")  # a and b as often: by letters
    assert task.train.tensor[0].tolist() == [3, 3, 2, PADDING]
    assert task.test.tensor[0].tolist() == [UNKNOWN, UNKNOWN, 2, PADDING]


def test_the_same_tokens_for_other_words_are_another_task() -> None:
    labels = ((0,), (1,)) * 10
    one, other = (Labelled((f"{word} big", "small") * 10, labels) for word in ("cat", "cut"))
    tasks = [text_task("t", part, part, TextOptions(length=3), ("x", "y")) for part in (one, other)]
    again = text_task("t", one, one, TextOptions(length=3), ("x", "y"))
    assert torch.equal(tasks[0].train.tensor, tasks[1].train.tensor)
    assert tasks[0].digest != tasks[1].digest
    assert tasks[0].digest == again.digest


@pytest.mark.parametrize("size", [1, 3, 9, 12])
def test_the_validation_split_takes_no_classs_last_training_text(size: int) -> None:
    labels: list[tuple[int, ...]] = [(0,)] * 6 + [(1, 2), (1,), (2,), (3,), (), (0, 3)]
    kept, held = validation_cut(labels, size)
    assert sorted(kept + held) == list(range(len(labels)))
    assert len(held) == size if size < 12 else len(held) < 12
    assert {label for place in kept for label in labels[place]} == {0, 1, 2, 3}
    assert (kept, held) == validation_cut(labels, size)


def test_encodings_of_texts_go_through_json_and_refuse_what_is_none() -> None:
    text = TextEncoding.of(["The cat's hat! The CAT's"], words=9, length=3, stop_words="english")
    assert text.vocabulary[2:] == ("cat's", "!", "hat")
    encoding = Encoding(classes=("a", "b"), text=text)
    assert Encoding.from_json(encoding.to_json()) == encoding
    for wrong, said in (
        ({"vocabulary": ["a"], "length": 3}, "begin with"),
        ({"vocabulary": ["<padding>", "<unknown>", "a", "a"], "length": 3}, "each once"),
        ({"vocabulary": ["<padding>", "<unknown>"], "length": 0}, "at least 1"),
        ({"vocabulary": ["<padding>", "<unknown>"], "length": 3, "stop_words": "latin"}, "expected none or english"),
        ({"words": []}, "expected an object with vocabulary, length, stop_words"),
        ({"length": 3}, "needs a vocabulary"),
    ):
        with pytest.raises(ValueError, match=said):
            Encoding.from_json({"text": wrong})
    with pytest.raises(ValueError, match="no word that occurs 3 times"):
        TextEncoding.of(["a b"], words=9, length=3, least=3)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tar.xz"])
def test_a_folder_and_its_archives_are_the_same_task(kind: str, tmp_path: Path) -> None:
    folder = folder_of(PETS, tmp_path / "pets")
    path = folder
    if kind == "zip":
        path = tmp_path / "pets.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in reversed(PETS.items()):
                archive.writestr(f"pets/{name}", content)
    elif kind != "folder":
        path = archive_of({f"./pets/{name}": content for name, content in PETS.items()}, tmp_path / f"pets.{kind}")
    task = load_task(f"text_folder:{path},words=30,length=6")
    assert task.encoding.classes == ("cats", "dogs")
    assert (len(task.train), len(task.validation), len(task.test)) == (29, 3, 8)
    assert task.digest == load_task(f"text_folder:{folder},words=30,length=6").digest
    again = pickle.loads(pickle.dumps(task))  # noqa: S301
    assert again.digest == task.digest


def test_names_of_classes_are_no_part_of_the_data(tmp_path: Path) -> None:
    """As with images; the words of the vocabulary are."""
    options = ",words=30,length=6"
    task = load_task(f"text_folder:{folder_of(PETS, tmp_path / 'pets')}{options}")
    renamed = {f"other_{name}": content for name, content in PETS.items()}
    other = load_task(f"text_folder:{folder_of(renamed, tmp_path / 'other')}{options}")
    assert other.encoding.classes == ("other_cats", "other_dogs")
    assert other.digest == task.digest
    words = {name: str(content).replace("a", "e") for name, content in PETS.items()}
    assert load_task(f"text_folder:{folder_of(words, tmp_path / 'words')}{options}").digest != task.digest


def test_given_splits_are_kept(tmp_path: Path) -> None:
    files = {f"{split}/{name}": text for split in ("train", "test") for name, text in PETS.items()}
    task = load_task(f"text_folder:{folder_of(files, tmp_path / 'split')}")
    assert (len(task.train), len(task.validation), len(task.test)) == (36, 4, 40)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"cats/1.txt": b"caf\xe9"}, "", "cats/1.txt is no text in utf-8 .* name its encoding, as in encoding=latin-1"),
        ({"loose.txt": "hello"}, "", "the text loose.txt .* lies in no folder of a class"),
        ({}, ",encoding=utf-9", "encoding is 'utf-9', expected one that Python knows"),
        ({}, ",encoding=zlib", "encoding is 'zlib', expected one that Python knows"),
        ({}, ",size=9", "text_folder has no setting size"),
        ({}, ",length=0", "length is '0', expected a whole number"),
        ({}, ",least=1000", "no word that occurs 1000 times"),
    ],
)
def test_odd_folders_of_texts_get_a_sentence(
    change: dict[str, str | bytes], options: str, said: str, tmp_path: Path
) -> None:
    folder = folder_of(PETS | change, tmp_path / "pets")
    with pytest.raises(ValueError, match=said):
        load_task(f"text_folder:{folder}{options}")


def test_a_text_of_another_encoding_is_read_where_it_is_named(tmp_path: Path) -> None:
    folder = folder_of(dict.fromkeys(PETS, b"caf\xe9"), tmp_path / "pets")
    text = load_task(f"text_folder:{folder},encoding=latin-1,least=1").encoding.text
    assert text is not None
    assert "café" in text.vocabulary


def test_damaged_and_hostile_archives_get_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = archive_of(PETS, tmp_path / "pets.tar.gz")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cut\.tar\.gz is damaged or no archive of texts"):
        load_task(f"text_folder:{cut}")
    with pytest.raises(FileNotFoundError, match="no folder or archive"):
        load_task(f"text_folder:{tmp_path / 'nowhere'}")
    twice = tmp_path / "twice.tar"
    with tarfile.open(twice, "w") as archive:
        for _ in range(2):
            entry = tarfile.TarInfo("cats/1.txt")
            archive.addfile(entry, io.BytesIO())
    with pytest.raises(ValueError, match=r"holds 'cats/1\.txt' twice|holds cats/1\.txt twice"):
        load_task(f"text_folder:{twice}")
    odd = tmp_path / "odd.tar"
    with tarfile.open(odd, "w") as archive:
        for name, content in ({"../../outside/1.txt": "hello"} | PETS).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
        link = tarfile.TarInfo("cats/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    names = [name for name, _ in text_files.contents(odd)]
    assert "cats/link.txt" not in names
    assert len(names) == 41
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.tar.gz", "odd.tar", "pets.tar.gz", "twice.tar"]
    monkeypatch.setattr(text_files, "MOST_OF_A_FILE", 10)
    with pytest.raises(ValueError, match="expected at most 10 bytes of one text"):
        load_task(f"text_folder:{whole}")
    monkeypatch.setattr(text_files, "MOST_OF_A_FILE", 1000)
    bomb = folder_of({"a/1.txt.gz": gzip.compress(b"a" * 50_000)}, tmp_path / "bomb")
    with pytest.raises(ValueError, match="unpacks to 1,001 bytes"):
        list(text_files.contents(bomb, lambda name: name == "a/1.txt"))


MESSAGE = "From: a@b\nSubject: hats\n\nA writes:\n> old words\nnew words here\n\n--\nmy signature\n"


def newsgroup_files() -> dict[str, str | bytes]:
    return {
        f"20news-bydate-{split}/{group}/{n}": MESSAGE + f"{group} {n}"
        for split, count in (("train", 12), ("test", 4))
        for group in ("alt.hats", "sci.cats")
        for n in range(count)
    }


def test_newsgroups_come_of_archive_folders_or_scikit_learns_cache_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newsgroups, "SIZES", {"train": 24, "test": 8})
    files = newsgroup_files()
    folder_of(files, tmp_path / "one" / "20newsgroups")
    (tmp_path / "two").mkdir()
    archive_of(dict(reversed(files.items())), tmp_path / "two" / "20news-bydate.tar.xz")
    cache = {}
    for split in ("train", "test"):
        own = {name: text for name, text in files.items() if f"-{split}/" in name}
        groups = sorted({name.split("/")[1] for name in own})
        cache[split] = Bunch(
            data=[str(text) for text in own.values()],
            filenames=np.array(list(own)),
            target_names=groups,
            target=np.array([groups.index(name.split("/")[1]) for name in own]),
            DESCR="",
        )
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "20news-bydate_py3.pkz").write_bytes(zlib.compress(pickle.dumps(cache)))
    tasks = [load_task("twenty_newsgroups,length=30", tmp_path / which) for which in ("one", "two", "three")]
    assert len({task.digest for task in tasks}) == 1
    assert (len(tasks[0].train), len(tasks[0].validation), len(tasks[0].test)) == (22, 2, 8)
    assert tasks[0].encoding.classes == ("alt.hats", "sci.cats")


@pytest.mark.parametrize(
    ("remove", "gone"),
    [
        ("headers", {"subject"}),
        ("quotes", {"old", "writes"}),
        ("footers", {"signature"}),
        ("all", {"subject", "old", "writes", "signature"}),
        ("nothing", set()),
    ],
)
def test_headers_footers_and_quotes_go_by_option(
    remove: str, gone: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newsgroups, "SIZES", {"train": 24, "test": 8})
    files = dict.fromkeys(newsgroup_files(), MESSAGE)
    folder_of(files, tmp_path)
    text = load_task(f"twenty_newsgroups,remove={remove}", tmp_path).encoding.text
    assert text is not None
    assert {"subject", "old", "writes", "signature"} - set(text.vocabulary) == gone
    assert "new" in text.vocabulary


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("run",))


def test_no_code_of_a_cache_is_run_and_a_damaged_one_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "20news-bydate_py3.pkz"
    for content, said in (
        (zlib.compress(pickle.dumps({"train": _Evil()})), "it holds builtins.print"),
        (b"nothing", "damaged or no cache"),
        (zlib.compress(pickle.dumps({"train": {}})), "damaged or no cache"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            load_task("twenty_newsgroups", tmp_path)
    assert "run" not in capsys.readouterr().out


def test_folds_of_movie_reviews_are_disjoint_and_cover_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[movie_reviews.__module__], "SENTENCES", 25)
    for kind in ("pos", "neg"):
        lines = "".join(f"a {kind} film number{n}\n" for n in range(25))
        (tmp_path / f"rt-polarity.{kind}.gz").write_bytes(gzip.compress(lines.encode()))
    seen = []
    for fold in range(10):
        task = load_task(f"movie_reviews,fold={fold},least=1,length=9", tmp_path)
        text = task.encoding.text
        assert text is not None
        # The test sentences' own numbers are no words of the vocabulary.
        assert bool((task.test.tensor[:, 3] == UNKNOWN).all())
        seen.append(len(task.test))
        assert len(task.train) + len(task.validation) + len(task.test) == 50
    assert sum(seen) == 50
    assert seen == [6] * 5 + [4] * 5
    (tmp_path / "rt-polarity.pos.gz").write_bytes(gzip.compress(b"one line\n"))
    load_task.__globals__["_load"].cache_clear()
    with pytest.raises(ValueError, match="has 1 positive sentences, expected 25"):
        load_task("movie_reviews", tmp_path)


def news(split: str, topics: list[str], number: int) -> str:
    tags = "".join(f"<D>{topic}</D>" for topic in topics)
    return (
        f'<REUTERS TOPICS="YES" LEWISSPLIT="{split}" CGISPLIT="x" OLDID="1" NEWID="{number}">\n'
        f"<TOPICS>{tags}</TOPICS>\n"
        f"<PLACES><D>usa</D></PLACES>\n<TEXT>&#2;\n<TITLE>TITLE {number}</TITLE>\n"
        f"<BODY>corn &amp; &lt;oil> {number}</BODY>"
        "</TEXT>\n</REUTERS>\n"
    )


def test_topics_of_reuters_by_their_numbers_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = [["a"]] * 6 + [["a", "b"]] * 4 + [["c"]] + [[]] * 3 + [["d"]] * 2
    test = [["a"], ["b"], ["d", "e"], []]
    items = [news("TRAIN", topics, n) for n, topics in enumerate(train)]
    items += [news("TEST", topics, 100 + n) for n, topics in enumerate(test)]
    other = news("NOT-USED", ["a"], 999) + news("TRAIN", ["a"], 998).replace('TOPICS="YES"', 'TOPICS="NO"')
    (tmp_path / "reut2-000.sgm").write_text("".join(items) + other)
    monkeypatch.setattr(sys.modules[reuters.__module__], "SIZES", {"train": 16, "test": 4})
    found = {kind: load_task(f"reuters,categories={kind}", tmp_path) for kind in ("10", "52", "90", "115")}
    assert found["115"].encoding.classes == ("a", "b", "c", "d")  # e has no training text
    assert found["90"].encoding.classes == ("a", "b", "d")  # c no test text
    assert found["52"].encoding.classes == ("a",)
    assert found["90"].objective.metric_names == ("micro_f1", "macro_f1")
    assert found["52"].objective.metric_names == ("accuracy",)
    assert found["90"].test.targets.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    labelled = load_task("reuters,categories=115,documents=labelled", tmp_path)
    assert len(labelled.train) + len(labelled.validation) == 13
    assert len(labelled.test) == 3
    text = found["90"].encoding.text
    assert text is not None
    assert {"corn", "oil", "title"} <= set(text.vocabulary)
    assert "usa" not in text.vocabulary
    assert bool((found["115"].train.targets.sum(0) > 0).all())
    monkeypatch.setattr(sys.modules[reuters.__module__], "SIZES", {"train": 17, "test": 4})
    load_task.__globals__["_load"].cache_clear()
    with pytest.raises(ValueError, match="has 16 training and 4 test texts of the ModApte split, expected 17 and 4"):
        load_task("reuters", tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("movie_reviews,fold=10", "fold is '10', expected a whole number in"),
        ("movie_reviews,size=3", "movie_reviews has no setting size; it has words, least"),
        ("movie_reviews,fold", "'fold' is no NAME=VALUE"),
        ("movie_reviews,fold=1,fold=2", "fold is given twice"),
        ("mnist,fold=1", "mnist has no options"),
        ("twenty_newsgroups,remove=names", "remove is 'names', expected one of nothing, headers"),
    ],
)
def test_options_that_a_task_does_not_take_are_refused(name: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        load_task(name)


def test_what_an_option_would_be_anyway_is_no_part_of_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[movie_reviews.__module__], "SENTENCES", 25)
    folder_of({f"rt-polarity.{kind}": "a film\n" * 25 for kind in ("pos", "neg")}, tmp_path)
    assert load_task("movie_reviews,fold=0,words=9", tmp_path).name == "movie_reviews,words=9"
    assert load_task("movie_reviews,length=60", tmp_path).name == "movie_reviews"


def test_data_that_is_nowhere_says_what_to_do(tmp_path: Path) -> None:
    for name in ("movie_reviews", "reuters", "twenty_newsgroups"):
        with pytest.raises(FileNotFoundError, match=f"no {name} data .* put them into a folder called '{name}'"):
            load_task(name, tmp_path)
        with pytest.raises(FileNotFoundError, match=f"no {name} data .* put the files into a folder called '{name}'"):
            load_task(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes", "outputs"),
    [
        ("movie_reviews", (8635, 959, 1068), 2),
        ("movie_reviews,fold=9", (8636, 960, 1066), 2),
        ("twenty_newsgroups", (10183, 1131, 7532), 20),
        ("reuters", (8643, 960, 3299), 90),
        ("reuters,categories=10", (8643, 960, 3299), 10),
        ("reuters,categories=115", (8643, 960, 3299), 115),
        ("reuters,categories=52", (5879, 653, 2568), 52),
        ("reuters,documents=labelled", (6993, 777, 3019), 90),
    ],
)
def test_published_texts_have_their_sizes(name: str, sizes: tuple[int, ...], outputs: int) -> None:
    try:
        task = load_task(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert (len(task.train), len(task.validation), len(task.test)) == sizes
    assert task.outputs == outputs
    if task.objective.name == "multi_label":
        assert bool((task.train.targets.sum(0) > 0).all())
        assert int((task.test.targets.sum(0) == 0).sum()) == (25 if outputs == 115 else 0)
    else:
        assert bool((task.train.targets.bincount(minlength=outputs) > 0).all())
    assert torch.equal(task.scoring_batch(9, seed=1)[0], task.scoring_batch(9, seed=1)[0])  # type: ignore[arg-type]
