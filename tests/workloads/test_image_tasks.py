"""Tasks of images: folders and zips of classes, and torchvision's files of CIFAR."""

from __future__ import annotations

import pickle
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scratchcard.workloads.tasks import cifar, image_folder, load_task
from scratchcard.workloads.tasks.image_files import listed


def paint(
    folder: Path, count: int = 20, *, classes: tuple[str, ...] = ("cat", "dog"), size: int = 6, mode: str = "RGB"
) -> None:
    """`count` noisy images of each class as PNG, which loses nothing."""
    random_pixels = np.random.default_rng(0)
    shape = (size, size, 3) if mode == "RGB" else (size, size)
    for kind in classes:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = random_pixels.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / kind / f"{number:03}.png")


def zipped(folder: Path, file: Path, *, top: str = "") -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for path in random.Random(1).sample(sorted(folder.rglob("*.*")), len(list(folder.rglob("*.*")))):
            archive.write(path, Path(top) / path.relative_to(folder))
    return file


def test_a_folder_is_cut_normalised_and_labelled(tmp_path: Path) -> None:
    paint(tmp_path / "pets", 20)
    task = load_task(f"image_folder:{tmp_path / 'pets'}")
    assert (len(task.train), len(task.validation), len(task.test), task.outputs) == (28, 4, 8, 2)
    images = task.train.tensor.double()
    assert images.mean((0, 2, 3)).abs().max() < 1e-6
    assert (images.std((0, 2, 3), unbiased=False) - 1).abs().max() < 1e-6
    # Every image is there once, with its own label: compared with Pillow's own pixels.
    raw = torch.cat([split.tensor for split in (task.train, task.validation, task.test)])
    labels = torch.cat([split.targets for split in (task.train, task.validation, task.test)])
    expected = {}
    for path in (tmp_path / "pets").rglob("*.png"):
        expected[path] = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1).double() / 255
    train = torch.stack(list(expected.values()))
    assert len(train) == len(raw)
    slope = [np.polyfit(sorted(train[:, c].flatten()), sorted(raw[:, c].flatten().double()), 1) for c in range(3)]
    for path, pixels in expected.items():
        wanted = torch.stack([slope[c][0] * pixels[c] + slope[c][1] for c in range(3)])
        distances = (raw.double() - wanted).abs().amax((1, 2, 3))
        assert distances.min() < 1e-4
        assert int(labels[distances.argmin()]) == ["cat", "dog"].index(path.parent.name)


def test_a_task_of_images_says_how_its_inputs_were_made(tmp_path: Path) -> None:
    """Whoever had the network alone could not know what to feed it, nor what it answered."""
    paint(tmp_path / "pets", 20)
    task = load_task(f"image_folder:{tmp_path / 'pets'}")
    known = task.encoding
    assert known.classes == ("cat", "dog")
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (known.mean, known.std))
    inputs = []
    for path in sorted((tmp_path / "pets").rglob("*.png")):
        pixels = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1)
        inputs.append((pixels / known.scale - mean) / std)
    raw = torch.stack(inputs)
    distances = (task.train.tensor[:, None] - raw[None]).abs().amax((2, 3, 4)).amin(1)
    assert distances.max() < 1e-5
    assert pickle.loads(pickle.dumps(task)).encoding == known  # noqa: S301


def test_a_zip_has_the_data_of_its_folder(tmp_path: Path) -> None:
    paint(tmp_path / "pets")
    (tmp_path / "pets" / "README.txt").write_text("not an image")
    (tmp_path / "pets" / ".hidden.png").write_text("not an image")
    plain = load_task(f"image_folder:{tmp_path / 'pets'}")
    for top in ("", "archive", "archive-1.0"):
        packed = load_task(f"image_folder:{zipped(tmp_path / 'pets', tmp_path / f'pets{top}.zip', top=top)}")
        assert packed.digest == plain.digest
    assert pickle.loads(pickle.dumps(packed)).digest == plain.digest  # noqa: S301


def test_given_splits_are_kept_and_the_others_cut_from_training(tmp_path: Path) -> None:
    for split, count in (("train", 20), ("val", 3), ("test", 5)):
        paint(tmp_path / "three" / split, count)
    task = load_task(f"image_folder:{tmp_path / 'three'}")
    assert [len(part) for part in (task.train, task.validation, task.test)] == [40, 6, 10]
    shutil.rmtree(tmp_path / "three" / "val")
    task = load_task(f"image_folder:{tmp_path / 'three'}")
    assert [len(part) for part in (task.train, task.validation, task.test)] == [36, 4, 10]


@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Train", "Valid", "Test"), ("training", "dev", "testing")]
)
def test_splits_have_several_names_and_stand_alone(tmp_path: Path, words: tuple[str, str, str]) -> None:
    for word, count in zip(words, (10, 2, 3), strict=True):
        paint(tmp_path / "set" / word, count)
    task = load_task(f"image_folder:{tmp_path / 'set'}")
    assert [len(part) for part in (task.train, task.validation, task.test)] == [20, 4, 6]
    assert task.outputs == 2
    paint(tmp_path / "set" / "extra", 2)
    with pytest.raises(ValueError, match="has a folder train beside 'extra': expected splits alone"):
        load_task(f"image_folder:{tmp_path / 'set'}")


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    for kind, alpha in (("cat", 0), ("dog", 255)):
        (tmp_path / "set" / kind).mkdir(parents=True)
        for number in range(10):
            Image.new("RGBA", (2, 2), (0, 0, 0, alpha)).save(tmp_path / "set" / kind / f"{number}.png")
    task = load_task(f"image_folder:{tmp_path / 'set'}")
    assert task.input_shape == (3, 2, 2)
    for images, kind in zip(task.train.tensor, task.train.targets.tolist(), strict=True):
        assert bool((images > 0).all() if kind == 0 else (images < 0).all())


def test_names_in_zips_are_read_as_they_are_and_stand_once(tmp_path: Path) -> None:
    paint(tmp_path / "pets")
    with zipfile.ZipFile(tmp_path / "dotted.zip", "w") as archive:
        for path in sorted((tmp_path / "pets").rglob("*.png")):
            archive.writestr(f"./pets/{path.parent.name}/{path.name}", path.read_bytes())
    plain = load_task(f"image_folder:{tmp_path / 'pets'}")
    assert load_task(f"image_folder:{tmp_path / 'dotted.zip'}").digest == plain.digest
    with zipfile.ZipFile(tmp_path / "dotted.zip", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("./pets/cat/000.png", b"again")
    with pytest.raises(ValueError, match=r"holds \./pets/cat/000\.png twice"):
        load_task(f"image_folder:{tmp_path / 'dotted.zip'}")


def test_sizes_differ_unless_one_is_named(tmp_path: Path) -> None:
    paint(tmp_path / "pets", 10, size=6)
    paint(tmp_path / "pets", 10, size=6, classes=("bird",), mode="L")
    Image.new("RGB", (12, 9)).save(tmp_path / "pets" / "cat" / "wide.png")
    with pytest.raises(ValueError, match=r"differ in size.*name one, as in image_folder:.*,size=64"):
        load_task(f"image_folder:{tmp_path / 'pets'}")
    task = load_task(f"image_folder:{tmp_path / 'pets'},size=8")
    assert task.input_shape == (3, 8, 8)
    with pytest.raises(ValueError, match=r"the size of the images is '0'.*\[1, 4096\]"):
        load_task(f"image_folder:{tmp_path / 'pets'},size=0")
    with pytest.raises(ValueError, match="has no setting 'sizes'; it has size"):
        load_task(f"image_folder:{tmp_path / 'pets'},sizes=8")


def test_grey_images_stay_grey_and_a_camera_s_turn_is_kept(tmp_path: Path) -> None:
    paint(tmp_path / "grey", 10, mode="L")
    assert load_task(f"image_folder:{tmp_path / 'grey'}").input_shape == (1, 6, 6)
    for kind in ("cat", "dog"):
        (tmp_path / "turned" / kind).mkdir(parents=True)
        for number in range(10):
            image = Image.new("RGB", (8, 4), (10 * number, 0, 255))
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(tmp_path / "turned" / kind / f"{number}.jpg", exif=exif)
    assert load_task(f"image_folder:{tmp_path / 'turned'}").input_shape == (3, 8, 4)


def test_what_is_too_large_is_mapped_from_the_cache_with_the_same_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(tmp_path / "pets")
    plain = image_folder.image_folder_task("pets", listed(tmp_path / "pets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(image_folder, "MOST_IN_MEMORY", 1000)
    mapped = image_folder.image_folder_task("pets", listed(tmp_path / "pets"))
    files = sorted((tmp_path / "cache").rglob("*"))
    assert sum(file.suffix == ".npy" for file in files) == 4  # three splits, mean and std
    assert not [file for file in files if ".part" in file.name]
    assert (mapped.digest, mapped.encoding) == (plain.digest, plain.encoding)
    monkeypatch.setattr(image_folder.ImageReader, "pixels", None)  # not decoded again
    again = image_folder.image_folder_task("pets", listed(tmp_path / "pets"))
    assert (again.digest, again.encoding) == (plain.digest, plain.encoding)


def test_a_changed_file_is_other_data(tmp_path: Path) -> None:
    paint(tmp_path / "pets")
    name = f"image_folder:{tmp_path / 'pets'}"
    before = load_task(name).digest
    assert load_task(name) is not None
    Image.new("RGB", (6, 6)).save(tmp_path / "pets" / "cat" / "000.png")
    assert load_task(name).digest != before


def test_relative_files_are_looked_for_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "data" / "pets")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("SCRATCHCARD_DATA", str(tmp_path / "data"))
    task = load_task("image_folder:pets")
    assert task.name == "image_folder:pets"
    monkeypatch.chdir(tmp_path)
    assert pickle.loads(pickle.dumps(task)).digest == task.digest  # noqa: S301


def test_a_named_folder_is_where_relative_files_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was refused, though the variable of the same meaning was taken."""
    paint(tmp_path / "data" / "pets")
    (tmp_path / "pets").mkdir()  # of another set: only the named folder is searched
    monkeypatch.chdir(tmp_path)
    task = load_task("image_folder:pets", "data")
    assert (task.name, task.outputs) == ("image_folder:pets", 2)
    monkeypatch.chdir(tmp_path / "data")
    assert pickle.loads(pickle.dumps(task)).digest == task.digest  # noqa: S301
    with pytest.raises(FileNotFoundError, match=r"no folder or zip .*/data/dogs"):
        load_task("image_folder:dogs", tmp_path / "data")


def test_linked_folders_are_refused_and_links_back_are_left_out(tmp_path: Path) -> None:
    """Their images counted twice, under two classes."""
    folder = tmp_path / "pets"
    paint(folder)
    (folder / "cat" / "back").symlink_to(folder)
    (folder / "cat" / "round.png").symlink_to(folder / "cat" / "round.png")
    (tmp_path / "owls").mkdir()
    shutil.copytree(folder / "dog", tmp_path / "owls", dirs_exist_ok=True)
    (folder / "owl").symlink_to(tmp_path / "owls")
    assert {kind: sum(k == kind for _, k, _ in listed(folder).images) for kind in ("cat", "dog", "owl")} == {
        "cat": 20,
        "dog": 20,
        "owl": 20,
    }
    (folder / "puppy").symlink_to(folder / "dog")
    with pytest.raises(ValueError, match=r"'dog' and 'puppy' of .*/pets are one folder, linked; remove the link"):
        listed(folder)


@pytest.mark.parametrize(
    "break_it", ["text", "cut", "deep", "loose", "one class", "no zip", "encrypted", "bomb", "untrained"]
)
def test_bad_folders_are_refused_in_one_sentence(
    tmp_path: Path, break_it: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pets"
    paint(folder)
    one, named = folder / "cat" / "000.png", folder
    expected = {
        "text": "pets's cat/000.png is damaged or no image; get it again or delete it",
        "cut": "pets's cat/000.png cannot be decoded",
        "deep": "has 16 bits or more a pixel",
        "loose": "lies in no folder of a class",
        "one class": "expected two folders at least",
        "no zip": "is damaged or no zip",
        "encrypted": "is damaged or no image",
        "bomb": "is damaged or no image",
        "untrained": "the class 'fox' of .* has no training image; give",
    }
    if break_it == "text":
        one.write_text("hello")
    elif break_it == "cut":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)).save(one)
        one.write_bytes(one.read_bytes()[:-40])
    elif break_it == "deep":
        Image.fromarray(np.zeros((6, 6), np.uint16)).save(one)
    elif break_it == "loose":
        one.rename(folder / "000.png")
    elif break_it == "one class":
        shutil.rmtree(folder / "dog")
    elif break_it == "no zip":
        named = tmp_path / "pets.zip"
        named.write_bytes(b"PK\x03\x04 no")
    elif break_it == "encrypted":
        named = zipped(folder, tmp_path / "pets.zip")
        raw = bytearray(named.read_bytes())
        for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = raw.find(mark)
            while start >= 0:
                raw[start + place] |= 1
                start = raw.find(mark, start + 1)
        named.write_bytes(raw)
    elif break_it == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    else:
        paint(folder / "test", 3, classes=("cat", "fox"))
        for kind in ("cat", "dog"):
            shutil.move(folder / kind, folder / "train" / kind)
    with pytest.raises(ValueError, match=expected[break_it]) as caught:
        load_task(f"image_folder:{named}")
    assert "\n" not in str(caught.value)


def test_no_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected one folder of images a class"):
        load_task(f"image_folder:{tmp_path / 'nowhere.zip'}")


@pytest.mark.parametrize(("name", "labels"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar_is_read_from_torchvision_s_files_and_checked(
    name: str, labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    kind: Any = getattr(torchvision.datasets, name.upper())
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    outputs = 10 if name == "cifar10" else 100
    generator = np.random.default_rng(0)
    for file, _ in (*kind.train_list, *kind.test_list):
        count = 1200 if name == "cifar10" else 6000
        part = {
            "data": generator.integers(0, 256, (count, 3072), dtype=np.uint8),
            labels: [n % outputs for n in range(count)],
        }
        (folder / file).write_bytes(pickle.dumps(part))
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: [str(n) for n in range(outputs)]}))
    with pytest.raises(
        ValueError, match=f"{kind.base_folder} is damaged or not whole: expected the files of {name}; get them again"
    ):
        load_task(name, tmp_path)  # their MD5 is another: nothing of them is read
    monkeypatch.setattr(kind, "_check_integrity", lambda _: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
    for place in (tmp_path, folder):
        task = getattr(cifar, name)(place)
        assert (len(task.train), len(task.validation), task.outputs) == (1000, 5000, outputs)
        assert task.input_shape == (3, 32, 32)
        assert (task.encoding.classes[-1], len(task.encoding.mean)) == (str(outputs - 1), 3)
    with pytest.raises(FileNotFoundError, match=f"no {name} data in"):
        load_task(name, tmp_path / "empty")
