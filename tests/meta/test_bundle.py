"""Bundles: the round trip is in the families' contract; here what is damaged, tampered with or in the way."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

import scratchcard.meta.bundle
from scratchcard.artefacts.json_file import read_json, write_json
from scratchcard.meta.bundle import ARRAYS, MANIFEST, load_bundle, read_manifest, save_bundle
from scratchcard.meta.fit import fit
from scratchcard.meta.predictor import Predictor
from scratchcard.meta.predictors import PREDICTORS
from scratchcard.score_tables.schema import FeatureBlock
from scratchcard.score_tables.table import ScoreTable

CASES = [(name, objective) for name, family in PREDICTORS.items() for objective in family.objectives]
SMALL = {"forest": {"trees": 3, "leaves": 9}, "gbm": {"trees": 4}, "mlp": {"epochs": 1, "hidden": (5, 3)}}
FEATURES = ("snip", "grasp", "wide")
LARGEST = float(np.finfo(np.float32).max)


@pytest.fixture(scope="module")
def predictors(table: ScoreTable) -> dict[tuple[str, str], Predictor]:
    return {
        (name, objective): fit(
            table, name, objective=objective, features=FEATURES, evaluate=False, **SMALL.get(name, {})
        )
        for name, objective in CASES
    }


@pytest.fixture
def bundle(predictors: dict[tuple[str, str], Predictor], tmp_path: Path) -> Path:
    return save_bundle(predictors["gbm", "classification"], tmp_path / "bundle")


def rewrite(folder: Path, data: bytes) -> None:
    """Other arrays with digests that fit."""
    (folder / ARRAYS).write_bytes(data)
    manifest = read_json(folder / MANIFEST)
    manifest["files"][ARRAYS] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    write_json(folder / MANIFEST, manifest)


def change(folder: Path, **entries: Any) -> None:
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | entries)


def hard_rows() -> FeatureBlock:
    """Features as large, small and equal as float32 has them."""
    edges = np.array([-LARGEST, -1.0, -1e-45, 0.0, 1e-45, 0.5, 1e3, LARGEST], dtype=np.float32)
    values = np.stack(np.meshgrid(edges, edges, edges), axis=-1).reshape(-1, 3)
    return FeatureBlock("w", np.arange(len(values)), FEATURES, values)


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_hard_rows_give_finite_scores(name: str, objective: str, predictors: dict[tuple[str, str], Predictor]) -> None:
    assert np.isfinite(predictors[name, objective].predict(hard_rows())).all()


INTEGERS = st.sampled_from([-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 5, 2**31 - 1, 2**63 - 1]) | st.integers(-3, 70)
FLOATS = st.floats() | st.sampled_from([np.nan, np.inf, -np.inf, 1e60, -1e60, 1e61, 1e-60, 0.0, 5e-324, LARGEST])


@st.composite
def tampering(draw: st.DrawFn, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One to three changes of one array each: numbers, order, length, shape, dtype, or gone."""
    arrays = {name: array.copy() for name, array in arrays.items()}
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(arrays)))
        array = arrays[name]
        kind = draw(st.sampled_from(["number"] * 6 + ["all", "swap", "cut", "longer", "shape", "dtype", "gone"]))
        numbers = INTEGERS if array.dtype.kind == "i" else FLOATS
        with np.errstate(all="ignore"):
            if kind == "number" and array.size:
                place = draw(st.integers(0, array.size - 1))
                array.reshape(-1)[place] = np.array(draw(numbers)).astype(array.dtype)
            elif kind == "all":
                array[...] = np.array(draw(numbers)).astype(array.dtype)
            elif kind == "swap":
                np.random.default_rng(draw(st.integers(0, 99))).shuffle(array)
            elif kind == "cut":
                arrays[name] = array[: draw(st.integers(0, max(len(array) - 1, 0)))].copy()
            elif kind == "longer":
                arrays[name] = np.concatenate([array, array[: draw(st.integers(0, 3))]])
            elif kind == "shape":
                shapes = [(-1,), (1, -1), (-1, 1), (-1, 1, 1)]
                arrays[name] = array.reshape(draw(st.sampled_from(shapes))).copy()
            elif kind == "dtype":
                kinds = [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]
                arrays[name] = array.astype(draw(st.sampled_from(kinds)))
            elif kind == "gone" and len(arrays) > 1:
                del arrays[name]
    return arrays


@pytest.mark.parametrize(("name", "objective"), CASES)
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_tampered_arrays_are_refused_or_harmless(
    name: str,
    objective: str,
    predictors: dict[tuple[str, str], Predictor],
    tmp_path: Path,
    data: st.DataObject,
) -> None:
    predictor = predictors[name, objective]
    folder = tmp_path / "bundle"
    if not folder.exists():
        save_bundle(predictor, folder)
    rewrite(folder, save(data.draw(tampering(dict(predictor.arrays)))))
    try:
        loaded = load_bundle(folder)
    except ValueError:
        return
    assert np.isfinite(loaded.predict(hard_rows())).all()


@pytest.mark.parametrize(("name", "objective"), CASES)
def test_every_array_is_guarded(
    name: str, objective: str, predictors: dict[tuple[str, str], Predictor], tmp_path: Path
) -> None:
    predictor = predictors[name, objective]
    folder = save_bundle(predictor, tmp_path / "bundle")
    for key, array in predictor.arrays.items():
        wrong = [np.zeros_like(array, shape=(len(array) + 1, *array.shape[1:])), array.astype(np.float16)]
        if array.dtype.kind == "f":
            for number in (np.nan, np.inf, -np.inf):
                bad = array.copy()
                bad.reshape(-1)[-1] = number
                wrong.append(bad)
        else:
            bad = array.copy()
            bad[-1] = np.iinfo(array.dtype).max
            wrong.append(bad)
        for bad in wrong:
            rewrite(folder, save({**predictor.arrays, key: bad}))
            with pytest.raises(ValueError, match="no usable predictor bundle: "):
                load_bundle(folder)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused(bundle: Path, place: int, bit: int) -> None:
    path = bundle / ARRAYS
    whole = path.read_bytes()
    data = bytearray(whole)
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(ValueError, match="other size or sha256"):
        load_bundle(bundle)
    path.write_bytes(whole)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**9), byte=st.integers(0, 255))
def test_a_changed_manifest_is_refused_or_harmless(bundle: Path, place: int, byte: int) -> None:
    path = bundle / MANIFEST
    whole = path.read_bytes()
    data = bytearray(whole)
    data[place % len(data)] = byte
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        loaded = load_bundle(bundle)
        block = FeatureBlock("w", np.arange(1), loaded.features, np.ones((1, 3), np.float32))
        assert loaded.predict(block).shape == (1,)
    path.write_bytes(whole)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.binary(max_size=40), keep=st.integers(0, 3000), tail=st.binary(max_size=40))
def test_foreign_bytes_with_fitting_digests_are_refused(bundle: Path, head: bytes, keep: int, tail: bytes) -> None:
    whole = (bundle / ARRAYS).read_bytes()
    cut = whole[keep % len(whole) :] if len(head) % 2 else whole[: keep % len(whole)]
    rewrite(bundle, head + cut + tail)
    try:
        loaded = load_bundle(bundle)
    except ValueError:
        pass
    else:  # only what was there before
        assert np.isfinite(loaded.predict(hard_rows())).all()
    rewrite(bundle, whole)


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b'{"value":{"dtype":"F64","shape":[4611686018427387904,2],"data_offsets":[0,8]}}',
        b'{"value":{"dtype":"F64","shape":[1],"data_offsets":[0,9223372036854775807]}}',
        b'{"value":{"dtype":"F64","shape":[1],"data_offsets":[8,0]}}',
        b'{"value":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]}}',
        b'{"value":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}',
        b'{"value":{"dtype":"P64","shape":[1],"data_offsets":[0,8]}}',
        b"[" * 5000,
        b"not json",
    ],
)
def test_odd_safetensors_headers_are_refused(bundle: Path, header: bytes) -> None:
    rewrite(bundle, len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="no usable predictor bundle"):
        load_bundle(bundle)
    rewrite(bundle, (2**63).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="no safetensors file"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"schema_version": 2}, "schema version 2, this release reads 1"),
        ({"schema_version": True}, "schema version True"),
        ({"schema_version": "1"}, "this release reads 1"),
        ({"format": "other"}, "does not say 'scratchcard-predictor'"),
        ({"family": "gmb"}, "did you mean 'gbm'"),
        ({"family": 3}, "no text"),
        ({"family": "x" * 10**5}, "no text of at most 200"),
        ({"family": "linear", "objective": "regression"}, "missing: coefficients, intercept"),
        ({"objective": "clustering"}, "no objective 'clustering'"),
        ({"features": []}, "lists no features"),
        ({"features": "snip"}, "lists no features"),
        ({"features": [3]}, "lists a feature without"),
        ({"features": [{"name": "a"}]}, "lists a feature without"),
        ({"options": []}, "no object under 'options'"),
        ({"files": {}}, "does not list model.safetensors"),
        ({"files": 7}, "does not list model.safetensors"),
        ({"files": {ARRAYS: {"sha256": "0" * 64, "bytes": 3}}}, "other size or sha256"),
    ],
)
def test_manifests_are_refused(bundle: Path, entries: dict[str, Any], message: str) -> None:
    change(bundle, **entries)
    with pytest.raises(ValueError, match=message):
        load_bundle(bundle)


def test_a_feature_less_or_twice_is_refused(bundle: Path) -> None:
    features = read_manifest(bundle)["features"]
    change(bundle, features=features[:1])
    with pytest.raises(ValueError, match="outside the 1 features"):
        load_bundle(bundle)
    change(bundle, features=[features[0]] * 3)
    with pytest.raises(ValueError, match="a name of its own"):
        load_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "[" * 100_000, '{"a": NaN}', "9" * 5000, "\0"])
def test_a_manifest_that_is_no_plain_json_object(bundle: Path, text: str) -> None:
    (bundle / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"not plain JSON|does not say"):
        load_bundle(bundle)
    (bundle / MANIFEST).write_bytes(b"\xff\xfe" + text.encode())
    with pytest.raises(ValueError, match="no usable predictor bundle"):
        load_bundle(bundle)


def test_files_that_are_missing_or_too_large(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratchcard.meta.bundle, "FILE_LIMIT", 100)
    with pytest.raises(ValueError, match=r"model\.safetensors is larger"):
        load_bundle(bundle)
    monkeypatch.setattr(scratchcard.meta.bundle, "MANIFEST_LIMIT", 100)
    with pytest.raises(ValueError, match=r"manifest\.json is larger"):
        load_bundle(bundle)
    monkeypatch.undo()
    (bundle / ARRAYS).unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is missing"):
        load_bundle(bundle)
    (bundle / MANIFEST).unlink()
    with pytest.raises(ValueError, match=r"manifest\.json is missing"):
        load_bundle(bundle)
    with pytest.raises(FileNotFoundError, match="no predictor bundle at"):
        load_bundle(bundle / "nothing")


def test_saving_replaces_a_bundle_but_nothing_else(
    bundle: Path, predictors: dict[tuple[str, str], Predictor], tmp_path: Path
) -> None:
    other = predictors["linear", "regression"]
    save_bundle(other, bundle)
    assert load_bundle(bundle).digest == other.digest
    assert sorted(path.name for path in bundle.iterdir()) == [MANIFEST, ARRAYS]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not a predictor bundle but holds 1 file of another kind"):
        save_bundle(other, precious)
    assert [(path.name, path.read_text()) for path in precious.iterdir()] == [("notes.txt", "mine")]


def test_what_a_user_put_beside_a_bundle_stays(
    bundle: Path, predictors: dict[tuple[str, str], Predictor], tmp_path: Path
) -> None:
    (bundle / "notes.txt").write_text("mine")
    (bundle / "figures").mkdir()
    (bundle / "figures" / "curve.png").write_bytes(b"png")
    linked = tmp_path / "linked"
    linked.symlink_to(bundle)
    other = predictors["linear", "regression"]
    save_bundle(other, linked)
    assert load_bundle(bundle).digest == other.digest
    assert linked.is_symlink()
    assert (bundle / "notes.txt").read_text() == "mine"
    assert (bundle / "figures" / "curve.png").read_bytes() == b"png"
    assert sorted(path.name for path in bundle.iterdir()) == ["figures", MANIFEST, ARRAYS, "notes.txt"]


def test_an_empty_folder_is_taken(predictors: dict[tuple[str, str], Predictor], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    save_bundle(predictors["linear", "regression"], folder)
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, ARRAYS]


def test_a_reader_that_meets_a_bundle_half_replaced_reads_again(
    bundle: Path, predictors: dict[tuple[str, str], Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = predictors["linear", "regression"]
    early = bundle.parent / "early"
    arrays = save_bundle(other, early) / ARRAYS
    (bundle / ARRAYS).write_bytes(arrays.read_bytes())  # of two renames the first is done

    def second(_: float) -> None:
        (bundle / MANIFEST).write_bytes((early / MANIFEST).read_bytes())

    monkeypatch.setattr(scratchcard.meta.bundle.time, "sleep", second)
    assert load_bundle(bundle).digest == other.digest


def test_a_failed_save_leaves_the_earlier_bundle(
    bundle: Path, predictors: dict[tuple[str, str], Predictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_bundle(bundle).digest

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(scratchcard.meta.bundle.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_bundle(predictors["linear", "regression"], bundle)
    assert load_bundle(bundle).digest == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_too_large_an_ensemble_is_not_saved(
    predictors: dict[tuple[str, str], Predictor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratchcard.meta.bundle, "FILE_LIMIT", 1000)
    with pytest.raises(ValueError, match="fit with fewer trees"):
        save_bundle(predictors["forest", "regression"], tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_predicting_needs_no_fitting_library(predictors: dict[tuple[str, str], Predictor], tmp_path: Path) -> None:
    """In a process of its own, where importing scikit-learn, LightGBM or pandas fails."""
    for key, predictor in predictors.items():
        save_bundle(predictor, tmp_path / "-".join(key))
    code = """
import sys
for name in ("sklearn", "lightgbm", "pandas"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
from scratchcard.meta.bundle import load_bundle
from scratchcard.score_tables.schema import FeatureBlock
for folder in sorted(Path(sys.argv[1]).iterdir()):
    predictor = load_bundle(folder)
    ones = FeatureBlock("w", np.arange(2), predictor.features, np.ones((2, 3), np.float32))
    print(predictor.predict(ones)[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    ones = FeatureBlock("w", np.arange(2), FEATURES, np.ones((2, 3), np.float32))
    expected = [predictors[key].predict(ones)[0] for key in sorted(predictors, key="-".join)]
    assert [float(line) for line in done.stdout.split()] == expected


@pytest.mark.parametrize("scale", [0.0, -1.0, 5e-324, 1e-61])
def test_a_scale_that_no_deviation_can_be_is_refused(
    scale: float, predictors: dict[tuple[str, str], Predictor], tmp_path: Path
) -> None:
    predictor = predictors["mlp", "regression"]
    folder = save_bundle(predictor, tmp_path / "bundle")
    bad = predictor.arrays["scale"].copy()
    bad[1] = scale
    rewrite(folder, save({**predictor.arrays, "scale": bad}))
    with pytest.raises(ValueError, match=r"expected (standard )?deviations"):
        load_bundle(folder)
