"""The report as a file: its numbers, what is escaped, what it may load, and what it leaves out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scratchcard.analysis.report import packed, report
from scratchcard.analysis.report.cost import cost
from scratchcard.analysis.report.density_rows import MOST, dense_reference, limits, means, split
from scratchcard.analysis.report.legend import entry
from scratchcard.analysis.report.page import Data, Panels, plain
from scratchcard.analysis.report.provenance import ranges
from scratchcard.analysis.report.sources import gather, named
from scratchcard.analysis.results import export, frame
from scratchcard.apply.method import Method
from tests.analysis.report_results import (
    BASELINES,
    EVIL,
    SAW,
    STACKS,
    dense,
    record,
    runs,
    write_grid,
    write_results,
)

DENSITIES, SEEDS = (0.005, 0.1), (0, 1, 2)


class Page(HTMLParser):
    """Elements, scripts, headings and tables of a page, as a browser would split it."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.headings: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.captions: list[str] = []
        self.file = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.feed(self.file)
        packs = [text for attrs, text in self.scripts if str(attrs.get("id")).startswith("pack")]
        self.packs = [json.loads(gzip.decompress(base64.b64decode(text))) for text in packs]
        self.charts: list[Any] = [chart for pack in self.packs for chart in pack["charts"]]
        self.sets: list[dict[str, Any]] = [pack["sets"] for pack in self.packs]
        self.text = self.file
        for pack in self.packs:
            self.text += pack["html"]
            self.feed(pack["html"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        elif tag in ("h2", "h3"):
            self.headings.append("")
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "figcaption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif {"h2", "h3"} & set(self.open):
            self.headings[-1] += data
        elif {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        elif "figcaption" in self.open:
            self.captions[-1] += data

    def table(self, *columns: str) -> list[list[str]]:
        return next(t for t in self.tables if [c.strip() for c in t[0]][: len(columns)] == list(columns))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("report") / "results", DENSITIES, SEEDS)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(report(folder, folder.parent / "report.html"))


def test_a_table_has_the_mean_and_its_interval_of_the_records(page: Page) -> None:
    method = STACKS[0]
    values = 100 * np.array([record(method, 0.005, seed)["test_accuracy"] for seed in SEEDS])
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    table = next(t for t in page.tables if [c.strip() for c in t[0]] == ["method", "0.005", "0.1", "seeds"])
    table = next(t for t in page.tables if t[0] == table[0] and any(row[0] == method.label for row in t))
    row = next(row for row in table if row[0] == method.label)
    assert row[1].startswith(f"{values.mean():.2f} ± {(high - low) / 2:.2f}")
    assert row[3] == "3"


def test_the_best_of_a_density_is_bold(page: Page) -> None:
    tops = means(frame_of(STACKS, [0.1]))
    top = max(tops, key=lambda row: float(row["mean"]))
    lines = re.findall(r"<tr><th[^>]*>([^<]*)</th>(.*?)</tr>", page.text)
    row = next(cells for name, cells in lines if name == top["method"] and "pub." in cells)
    assert f"<b>{top['mean']:.2f}</b>" in row
    other = next(cells for name, cells in lines if name == min(tops, key=lambda row: float(row["mean"]))["method"])
    assert "<b>" not in other


def test_every_section_is_there(page: Page) -> None:
    text = "\n".join(page.headings)
    for title in (
        "What was run",
        "Stacks",
        "Accuracy against density: lenet_300_100 on mnist",
        "Dense training",
        "Declared comparisons",
        "Ranks of the methods",
        "Stacked scoring, every round",
        "Scores as weights",
        "Accuracy against cost",
        "Training:",
        "Predictors",
        "Overlap",
        "Common core",
        "Layers",
        "Kept weights",
        "How each number was made",
        "Failed runs",
    ):
        assert title in text, title


def test_declared_comparisons_are_tested_and_corrected(page: Page, folder: Path) -> None:
    table = page.table("method", "against", "density")
    assert len(table) == 1 + 4 * len(DENSITIES)
    a, b = (
        np.array([record(m, 0.005, seed)["test_accuracy"] for seed in SEEDS])
        for m in (STACKS[0], Method("snip", regime="UMS"))
    )
    row = next(r for r in table if r[0] == STACKS[0].label and r[2] == "0.005")
    assert row[5].startswith(f"{100 * (a.mean() - b.mean()):+.2f}".replace("-", "−"))
    p = stats.ttest_ind(a, b, equal_var=False).pvalue
    shown = float(row[7].replace("< ", ""))
    assert shown == pytest.approx(p, abs=0.006)


def test_published_figures_stand_beside_ours(page: Page) -> None:
    shown = [
        row
        for t in page.tables
        for row in t
        if row[0] == "magnitude on grasp every round, UMS 100" and "pub." in row[1]
    ]
    assert shown
    assert shown[0][1].endswith("pub. 90.51")  # composite_pruning_mnist.csv, its first line
    assert any("published figures" in text for text in re.findall(r"<p[^>]*>([^<]*)", page.text))


def test_foreign_text_stays_text(page: Page) -> None:
    assert all(attrs.get("type") == "application/gzip" for attrs, _ in page.scripts[:-1])
    assert not [attrs for tag, attrs in page.tags if "onerror" in attrs]
    assert "window.hacked = 1</script>" not in page.text
    assert any(EVIL in heading for heading in page.headings)  # and yet it is shown
    labels = {row[0] for table in page.tables for row in table}
    assert f"random {EVIL}" in labels
    rows = [row for sets in page.sets for set_ in sets.values() for row in set_]
    assert any(row.get("entry") == f"random {EVIL}" for row in rows)


def test_the_policy_lets_only_our_own_scripts_run(page: Page) -> None:
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv")) or ""
    assert policy.startswith("default-src 'none'")
    scripts = policy.partition("script-src ")[2].partition(";")[0].split()
    library = next(text for attrs, text in page.scripts if attrs.get("id") == "library")
    ours = [gzip.decompress(base64.b64decode(library)).decode()]
    ours += [text for attrs, text in page.scripts if "type" not in attrs]
    assert scripts == [f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in ours]
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    for _, attrs in page.tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "data:").startswith(("data:", "#")), attrs


def test_every_chart_is_valid_vega_lite_over_data_of_the_page(page: Page) -> None:
    import altair as alt
    from jsonschema import ValidationError

    kinds: dict[str, Any] = {}
    for pack in page.packs:
        for spec in pack["charts"]:
            names = re.findall(r'"data": \{"name": "([^"]*)"\}', json.dumps(spec, ensure_ascii=False))
            assert names
            assert set(names) <= set(pack["sets"])
            kinds.setdefault(names[0].split()[0], spec)
    assert len(page.charts) == sum(1 for _, attrs in page.tags if attrs.get("data-chart") is not None)
    expected = {"accuracy", "cost", "stacks", "saw", "overlap", "histogram", "core", "predictor", "ranks", "best"}
    assert expected <= set(kinds)
    for spec in kinds.values():
        alt.LayerChart.from_dict(spec, validate=True)
    with pytest.raises(ValidationError):
        alt.LayerChart.from_dict({**spec, "layer": [{"mark": "no such mark"}]}, validate=True)


def test_panels_without_published_figures_read_none(page: Page) -> None:
    """A layer without a row would make Vega warn of an infinite extent."""
    read = 0
    for pack in page.packs:
        data = {name: {r["entry"] for r in rows} for name, rows in pack["sets"].items() if name.endswith(" published")}
        for spec in pack["charts"]:
            for layer in spec["layer"]:
                name = layer.get("data", {}).get("name")
                if name in data:
                    assert set(layer["transform"][0]["filter"]["oneOf"]) & data[name]
                    read += 1
    assert read


def test_how_each_number_was_made(page: Page) -> None:
    assert "scratchcard sweep experiments/stacks.toml --out results" in page.text
    settings = {(row[0], row[1]) for row in page.table("what", "value")}
    assert {("torch", "2.15.0"), ("machine", "x86_64, 2 cores"), ("results version", "1")} <= settings
    assert "figures 5.10 and 5.11 of the thesis" in page.text
    assert "&lt;b&gt;not bold&lt;/b&gt;" in page.text  # the grid's file
    failed = page.table("method", "density", "seed", "error")
    assert EVIL in failed[1][3]


def test_an_exported_file_gives_the_same_tables(folder: Path, page: Page, tmp_path: Path) -> None:
    path = export(folder, tmp_path / "runs.parquet")
    exported = Page(report(path, tmp_path / "report.html", anatomy=folder / "anatomy.parquet"))
    assert exported.tables == page.tables
    assert exported.headings == page.headings
    assert exported.sets == page.sets


def test_few_runs_make_a_small_page(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    one = record(Method("snip"), 0.1, 0, history=None, pruning_seconds=1.0)
    del one["history"], one["machine"], one["wall_seconds"]
    (folder / f"{one['digest']}.json").write_text(json.dumps(one))
    page = Page(report(folder, tmp_path / "a" / "few.html", title="One & only"))
    assert "<title>One &amp; only</title>" in page.text
    (chart, *_) = page.charts
    assert [layer["mark"]["type"] for layer in chart["layer"]] == ["rule", "point"]  # a dot plot, no curve
    assert not {"Failed runs", "Predictors", "Ticket anatomy", "Dense training"} & set(page.headings)
    row = next(r for r in page.table("method", "0.1") if r[0] == "snip")
    assert row[1].startswith(f"{100 * one['test_accuracy']:.2f}")
    assert "±" not in row[1]
    assert "nan" not in json.dumps(page.packs).lower()


def test_a_grid_without_runs_says_so(tmp_path: Path) -> None:
    write_grid(tmp_path, "done", runs(BASELINES[:2], [0.1], SEEDS))
    write_grid(tmp_path, "todo", [], digests=["0" * 64])
    page = Page(report(tmp_path, tmp_path / "report.html"))
    assert "No run of the grid todo is finished." in page.text


def test_a_grid_of_dense_networks_alone_has_a_page_beside_others(tmp_path: Path) -> None:
    write_grid(tmp_path, "pruned", runs(BASELINES[:2], [0.1], SEEDS))
    write_grid(tmp_path, "whole", runs([Method("magnitude")], [1.0], SEEDS))
    page = Page(report(tmp_path, tmp_path / "report.html"))
    assert "whole" in page.text


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.html"):
        report(folder, tmp_path / "report.pdf")
    with pytest.raises(FileNotFoundError):
        report(tmp_path / "nothing", tmp_path / "report.html")
    with pytest.raises(FileNotFoundError):
        report(folder, tmp_path / "report.html", anatomy=tmp_path / "none.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no finished run"):
        report(tmp_path / "empty", tmp_path / "report.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(IsADirectoryError):
        report(folder, tmp_path / "folder.html")
    assert not (tmp_path / "report.html").exists()


def frame_of(methods: Any, densities: Any = DENSITIES, seeds: Any = SEEDS, **changes: Any) -> pd.DataFrame:
    return to_frame(runs(methods, densities, seeds, **changes))


def to_frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        for made in records:
            (Path(place) / f"{made['digest']}.json").write_text(json.dumps(made))
        return named(frame(place))


def test_runs_of_one_label_with_other_settings_are_other_methods() -> None:
    first = runs(BASELINES[1:3], DENSITIES, SEEDS)
    second = json.loads(json.dumps(runs(BASELINES[1:2], DENSITIES, SEEDS)))
    for made in second:
        made["digest"] = made["digest"][::-1]
        made["configuration"]["workload"]["recipe"]["max_steps"] = 500
    assert set(to_frame(first)["method"]) == {"magnitude", "snip"}
    found = to_frame(first + second)
    assert set(found["method"]) == {"magnitude [12885 steps]", "magnitude [500 steps]", "snip"}
    assert not found.duplicated(["method", "density", "seed"]).any()


def test_the_dense_reference_is_of_the_same_workload() -> None:
    other = dense(SEEDS)
    sparse = frame_of(BASELINES)
    expected = 100 * np.mean([r["test_accuracy"] for r in other if r["configuration"]["method"]["initial"] == "given"])
    everything = pd.concat([sparse, to_frame(other)])
    found = dense_reference(everything, sparse)
    assert found is not None
    assert found.mean == pytest.approx(expected)
    assert found.count == len(SEEDS)
    again = dense_reference(pd.concat([everything, to_frame(other).assign(device="cuda")]), sparse)
    assert again == found, "a second run of a seed is no further value"
    assert dense_reference(sparse, sparse) is None
    assert dense_reference(everything.assign(max_steps=1), sparse) is None
    assert dense_reference(everything, pd.concat([sparse, sparse.assign(max_steps=1)])) is None


@pytest.mark.parametrize("methods", [BASELINES, STACKS, STACKS + SAW], ids=["few", "stacks", "many"])
def test_every_method_is_in_one_panel_with_a_mark_of_its_own(methods: tuple[Method, ...]) -> None:
    panels = split(frame_of(methods, [0.1], [0]))
    names = [entry.name for _, entries in panels for entry in entries]
    assert sorted(names) == sorted(method.label for method in methods)
    for _, entries in panels:
        assert len(entries) <= MOST
        assert len({(e.colour, e.shape, e.dash) for e in entries}) == len(entries)
    assert len(panels) == 1 if len(methods) <= MOST else len({title for title, _ in panels}) == len(panels)


def test_a_variant_keeps_its_colour_across_panels() -> None:
    styles: dict[str, set[str]] = {}
    for _, entries in split(frame_of(STACKS, [0.1], [0])):
        for one in entries:
            styles.setdefault(one.name.partition(" on ")[2] or "alone", set()).add(one.colour)
    assert len(styles) == 5
    assert all(len(numbers) == 1 for numbers in styles.values())


def test_styles_differ_for_thirty_two_methods() -> None:
    assert len({(s.colour, s.dash) for s in (entry(str(k), k) for k in range(32))}) == 32


accuracies = st.lists(st.floats(0, 100), min_size=1, max_size=30)


@given(accuracies, accuracies)
def test_limits_hold_all_but_what_lies_far_below(values: list[float], more: list[float]) -> None:
    rows = [{"mean": v, "low": max(0.0, v - 1), "high": min(100.0, v + 1)} for v in values]
    (low, high), cut = limits(rows, more)
    every = values + more
    assert high >= max(every)
    if cut is None:
        assert low <= min(row["low"] for row in rows)
        assert low <= min(every)
    else:
        first, third = np.quantile(every, [0.25, 0.75])
        assert low == cut[0]
        assert cut[1] <= min(every)
        assert cut[0] <= first - 2 * (third - first)  # only what is far below the rest is cut off
        assert sum(v < cut[0] for v in every) <= len(every) / 4


def test_the_front_is_what_nothing_beats() -> None:
    data = Data()
    (section,) = cost(frame_of(STACKS + BASELINES), data)
    rows = data.sets["cost lenet_300_100 mnist accuracy"]
    for row in rows:
        same = [other for other in rows if other["density"] == row["density"]]
        beaten = any(other["x"] <= row["x"] and other["mean"] >= row["mean"] and other is not row for other in same)
        assert row["front"] == (not beaten)
    assert 0 < sum(row["front"] for row in rows) < len(rows)
    panels = next(block for block in section.blocks if isinstance(block, Panels))
    assert len(panels.charts) == len(DENSITIES)
    one = next(r for r in rows if r["method"] == "snip" and r["density"] == 0.1)
    made = [record(Method("snip"), 0.1, seed) for seed in SEEDS]
    assert one["x"] == pytest.approx(np.mean([m["pruning_seconds"] + m["training"]["seconds"] for m in made]), rel=1e-5)


@given(st.text())
def test_what_is_packed_is_plain_letters_and_reads_back(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", packed(text))
    assert gzip.decompress(base64.b64decode(packed(text))).decode() == text


def test_two_data_sets_have_two_names() -> None:
    data = Data()
    data.add("set", [{"a": 1}])
    data.add("set", [{"a": 1}])
    with pytest.raises(ValueError, match="two data sets"):
        data.add("set", [{"a": 2}])


def test_plain_numbers() -> None:
    assert [plain(v) for v in (float("nan"), float("inf"), 2.0, np.float64(1 / 3), True, None, "x")] == [
        None,
        None,
        2,
        0.333333,
        True,
        None,
        "x",
    ]


def test_words_for_seeds() -> None:
    assert ranges(pd.Series([4, 0, 1, 2, 10, None])) == "0–2, 4, 10"


def test_importing_the_command_is_cheap() -> None:
    heavy = ("pandas", "scipy", "torch", "jinja2", "matplotlib")
    code = f"import sys, scratchcard.frontends.cli.report; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_a_large_grid_stays_below_a_megabyte_and_a_half(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "large", (0.005, 0.007, 0.01, 0.015, 0.1, 0.2, 0.5), range(5))
    assert len(gather([folder]).runs) > 1200
    assert report(folder, tmp_path / "report.html").stat().st_size < 1.5e6


def test_several_sources_are_taken_together(tmp_path: Path) -> None:
    write_grid(tmp_path / "a", "one", runs(BASELINES[:2], DENSITIES, SEEDS))
    write_grid(tmp_path / "b", "two", runs(BASELINES[1:3], DENSITIES, SEEDS))
    found = gather([tmp_path / "a", export(tmp_path / "b", tmp_path / "b.parquet")])
    assert len(found.runs) == 3 * len(DENSITIES) * len(SEEDS)  # what is in both counts once
    assert {grid["name"] for grid in found.grids} == {"one", "two"}


def test_other_metrics_are_called_by_their_names_and_stand_alone(tmp_path: Path) -> None:
    made = runs(BASELINES[:3], DENSITIES, SEEDS) + runs(BASELINES[:3], DENSITIES, SEEDS, task="price", metric="r2")
    write_grid(tmp_path / "runs", "grid", made)
    found = Page(report(tmp_path / "runs", tmp_path / "report.html"))
    assert "R2 against density: lenet_300_100 on price" in found.headings
    titles = json.dumps(found.charts)
    assert '"title": "test r2"' in titles
    assert '"title": "test accuracy, %"' in titles
    rows = [row for table in found.tables for row in table if row[0] == "snip" and row[1].startswith("0.9")]
    assert rows  # as it is, not in per cent
    mixed = named(to_frame(made).assign(task="mnist"))
    places = {row["metric"] for row in means(mixed.assign(metric=mixed["metric"].fillna("accuracy")), by=("metric",))}
    assert places == {"accuracy", "r2"}


def test_the_example_report_is_small_and_begins_with_the_verdict() -> None:
    path = Path(__file__).parents[2] / "docs" / "example_report.html"
    page = Page(path)
    assert path.stat().st_size < 1_500_000
    assert page.headings[0] == "Verdict"
