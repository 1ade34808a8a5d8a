"""The anatomy of tickets made by hand: what is compared with what, the file, and what is read off it."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import scratchcard.analysis.anatomy
from scratchcard.analysis.anatomy import COLUMNS, anatomy, read_anatomy
from scratchcard.analysis.anatomy_tables import core_sizes, means, overlap_matrix, places
from scratchcard.analysis.overlap import PackedMask, chances, jaccards
from scratchcard.analysis.tickets import Origin, labels_of, layer_rows, ticket_files
from scratchcard.analysis.weights import EDGES, bimodality_coefficient
from scratchcard.pruning.connectivity import Connectivity, effective_density
from scratchcard.pruning.cut import keep_top
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.pruning.scores import Scores
from scratchcard.pruning.ticket import Ticket
from scratchcard.workloads.networks import build_network

WORKLOAD = "lenet_300_100-toy"


def make_ticket(
    label: str = "snip", seed: int = 0, density: float = 0.1, draw: int | None = None, **changes: Any
) -> Ticket:
    """A ticket of a small registered network with random masks; `draw` seeds the mask."""
    network = build_network("lenet_300_100", (8,), 2, seed)
    generator = torch.Generator().manual_seed(draw if draw is not None else 100 * seed + len(label))
    scores = {name: torch.rand(w.shape, generator=generator) for name, w in prunable(network).items()}
    mask = keep_top(Scores(scores, "random"), density)
    provenance: dict[str, Any] = {
        "workload": {"network": "lenet_300_100", "task": "toy", "data_digest": "d", "recipe": {"max_steps": 5}}
        | changes.pop("workload", {}),
        "method": {"scorer": label, "predictor": None, "initial": "given"} | changes.pop("method", {}),
        "label": label,
        "density": density,
        "seed": seed,
        "data_seed": seed,
        "training": {"steps": 40 + seed, "best_step": 20, "early_stopped": True, "validation_loss": None},
    } | changes
    ticket = Ticket.of(network, mask, provenance)
    after = {name: 2 * tensor * mask.tensors.get(name, 1) for name, tensor in ticket.initial.items()}
    return Ticket(ticket.initial, ticket.mask, provenance, after)


def make_folder(folder: Path, tickets: list[Ticket]) -> Path:
    for place, ticket in enumerate(tickets):
        (folder / "tickets").mkdir(parents=True, exist_ok=True)
        ticket.save(folder / "tickets" / f"{place:064x}.safetensors")
    return folder


def overlaps(tickets: list[Ticket]) -> pd.DataFrame:
    """What an anatomy of the tickets says of every two methods."""
    with tempfile.TemporaryDirectory() as place:
        frame = anatomy(make_folder(Path(place), tickets))
    rows = frame[frame["kind"] == "overlap"].rename(columns={"label": "label_a", "other": "label_b"})
    keys = ["workload", "task", "density", "label_a", "label_b"]
    table = rows.pivot(index=keys, columns="name", values="value").reset_index()
    return table.reindex(columns=[*keys, "jaccard", "spread", "chance", "chance_by_layer", "seeds"])


def jaccard(a: Mask, b: Mask) -> float:
    return float(jaccards([PackedMask.of(a), PackedMask.of(b)])[0, 1])


@pytest.fixture(scope="module")
def tickets() -> list[Ticket]:
    return [make_ticket(label, seed) for label in ("snip", "synflow", "grasp") for seed in (0, 1)]


def test_tickets_are_compared_within_a_seed_and_averaged_over_seeds(tickets: list[Ticket]) -> None:
    found = overlaps(tickets).set_index(["label_a", "label_b"])
    assert list(found.index) == [("grasp", "snip"), ("grasp", "synflow"), ("snip", "synflow")]
    own = {(t.provenance["label"], t.provenance["seed"]): t.mask for t in tickets}
    for (a, b), row in found.iterrows():
        values = [jaccard(own[a, seed], own[b, seed]) for seed in (0, 1)]
        assert row["jaccard"] == pytest.approx(np.mean(values))
        assert row["spread"] == pytest.approx(np.std(values, ddof=1))
        assert row["chance"] == pytest.approx(0.1 / 1.9, rel=1e-3)
        assert row["chance_by_layer"] == pytest.approx(np.mean([chance_by_layer(own[a, s], own[b, s]) for s in (0, 1)]))
        assert (row["workload"], row["task"], row["density"], row["seeds"]) == (WORKLOAD, "toy", 0.1, 2)


def test_what_lies_at_other_places_is_not_compared() -> None:
    one = make_ticket("snip", 0)
    others = [
        make_ticket("synflow", 1),
        make_ticket("synflow", 0, density=0.2),
        make_ticket("synflow", 0, workload={"data_digest": "e"}),
        make_ticket("synflow", 0, data_seed=7),
    ]
    for other in others:
        assert overlaps([one, other]).empty
    assert len(overlaps([one, make_ticket("synflow", 0)])) == 1
    assert overlaps([make_ticket("snip", 0, 1.0), make_ticket("grasp", 0, 1.0)]).empty  # dense


def test_a_method_meets_itself_only_on_one_initialisation() -> None:
    given = {"weights": "/some/file", "weights_sha256": "abc"}
    elsewhere = given | {"weights": "/elsewhere"}  # the same weights in another file
    same = [make_ticket("snip", seed, workload=given if seed else elsewhere) for seed in (0, 1, 2)]
    found = overlaps(same)
    assert found[["label_a", "label_b", "seeds"]].to_numpy().tolist() == [["snip", "snip", 3]]  # three pairs
    assert overlaps([make_ticket("snip", 0), make_ticket("snip", 1)]).empty
    again = overlaps([make_ticket("snip", 0), make_ticket("snip", 0, data_seed=9)])
    assert again["jaccard"].tolist() == [1.0]
    drawn = [make_ticket("snip", seed, workload=given, method={"initial": "bimodal"}) for seed in (0, 1)]
    assert overlaps(drawn).empty  # drawn anew for each seed


def test_methods_of_one_label_are_told_apart() -> None:
    def named(*methods: dict[str, Any]) -> list[str]:
        return labels_of([Origin.of(make_ticket("predicted", 0, method=method), "it") for method in methods])

    a, b = ({"predictor": f"/p/{name}", "predictor_digest": name} for name in ("gbm", "mlp"))
    assert named(a, b) == ["predicted [gbm]", "predicted [mlp]"]
    assert named(a | {"predictor_name": "trees"}, b) == ["predicted [trees]", "predicted [mlp]"]
    assert named(a) == ["predicted"]
    first, second = named(a | {"towards": 0.1}, a | {"towards": 0.005})
    assert first != second
    assert first.startswith("predicted [")
    with pytest.raises(ValueError, match="one and the same run"):
        named(a, a | {"predictor": "/elsewhere/gbm"})


def layers(ticket: Ticket) -> pd.DataFrame:
    return pd.DataFrame(layer_rows(ticket))


def chance_by_layer(a: Mask, b: Mask) -> float:
    return float(chances([PackedMask.of(a), PackedMask.of(b)], by_layer=True)[0, 1])


def test_layers_by_hand_and_against_connectivity(tickets: list[Ticket]) -> None:
    ticket = tickets[0]
    found = layers(ticket)
    network = build_network("lenet_300_100", (8,), 2, 5)
    expected = Connectivity.of(network, ticket.mask, (8,))
    assert found["density"].tolist() == pytest.approx(list(expected.density.values()))
    assert found["live_units"].tolist() == list(expected.live_units.values())
    assert (found["live_units"] + found["dead_units"]).tolist() == found["units"].tolist() == [300, 100, 2]
    whole = (found["effective_density"] * found["size"]).sum() / found["size"].sum()
    assert whole == pytest.approx(effective_density(network, ticket.mask, (8,)))


def test_one_path_has_one_live_unit_a_layer() -> None:
    ticket = make_ticket()
    kept = {name: torch.zeros_like(tensor) for name, tensor in ticket.mask.tensors.items()}
    first, second, third = kept.values()
    first[3, 0] = second[7, 3] = third[1, 7] = True
    first[5, 0] = second[8, 9] = True  # lead nowhere
    found = layers(Ticket(ticket.initial, Mask(kept), ticket.provenance))
    assert found["live_units"].tolist() == [1, 1, 1]
    assert found["kept"].tolist() == [2, 2, 1]
    assert found["effective_density"].tolist() == pytest.approx([1 / 2400, 1 / 30000, 1 / 200])


def test_a_foreign_network_is_never_imported_and_the_runs_own_numbers_serve(tmp_path: Path) -> None:
    ticket = make_ticket(workload={"network": "no_such_module:factory"})
    assert layers(ticket)[["units", "live_units", "effective_density"]].isna().all(axis=None)
    folder = make_folder(tmp_path, [ticket])
    assert "live_units" not in set(anatomy(folder)["name"])
    digest = f"{0:064x}"
    live = dict.fromkeys(ticket.mask.tensors, 5)
    record = {"digest": digest, "label": "as the run says", "effective_density": 0.07, "live_units": live}
    (folder / f"{digest}.json").write_text(json.dumps(record))
    frame = anatomy(folder)
    assert frame["workload"].unique().tolist() == ["factory-toy"]
    assert frame[frame["name"] == "live_units"]["value"].tolist() == [5.0] * 3
    own = frame[(frame["kind"] == "ticket") & (frame["name"] == "effective_density")]
    assert own["value"].tolist() == [0.07]
    assert own["label"].tolist() == ["as the run says"]


def test_the_file_holds_what_the_tickets_say(tickets: list[Ticket], tmp_path: Path) -> None:
    out = tmp_path / "new" / "anatomy.parquet"
    seen: list[tuple[int, int]] = []
    frame = anatomy(make_folder(tmp_path, tickets), out, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 6) for done in range(1, 7)]
    assert [path.name for path in out.parent.iterdir()] == ["anatomy.parquet"]  # nothing is left beside it
    again = read_anatomy(out)
    assert list(again.columns) == list(COLUMNS)
    assert again.equals(frame)
    assert frame["value"].notna().all()
    assert set(frame["kind"]) == {"ticket", "layer", "weights", "histogram", "overlap", "core"}

    ticket = tickets[0]
    own = frame[(frame["label"] == "snip") & (frame["seed"] == 0)]
    numbers = own[own["kind"] == "ticket"].set_index("name")["value"]
    assert numbers["kept"] == ticket.mask.kept
    assert (numbers["steps"], numbers["best_step"], numbers["early_stopped"]) == (40, 20, 1)
    assert "validation_loss" not in numbers
    weights = own[(own["kind"] == "weights")].set_index(["layer", "name"])["value"]
    name = "1.weight"
    kept = ticket.initial[name][ticket.mask.tensors[name]].numpy()
    assert weights[name, "initial_kept.bimodality"] == pytest.approx(bimodality_coefficient(kept), rel=1e-6)
    assert weights[name, "final_kept.root_mean_square"] == pytest.approx(
        2 * weights[name, "initial_kept.root_mean_square"]
    )
    assert weights["", "same_sign"] == 1.0


def test_tables_read_off_the_file(tickets: list[Ticket], tmp_path: Path) -> None:
    frame = anatomy(make_folder(tmp_path, tickets))
    assert places(frame) == [(WORKLOAD, 0.1)]
    pairs = overlaps(tickets).set_index(["label_a", "label_b"])
    for measure in ("jaccard", "chance_by_layer", "seeds"):
        matrix = overlap_matrix(frame, measure)
        assert list(matrix.index) == ["grasp", "snip", "synflow"]
        assert (
            matrix.loc["synflow", "grasp"] == matrix.loc["grasp", "synflow"] == pairs.loc["grasp", "synflow"][measure]
        )
        assert math.isnan(matrix.loc["snip", "snip"])

    sizes = core_sizes(frame)
    cores = []
    for seed in (0, 1):
        masks = [t.mask.flat() for t in tickets if t.provenance["seed"] == seed]
        cores.append(int(torch.stack(masks).all(0).sum()))
    assert sizes["at_least"].tolist() == [1, 2, 3]
    assert sizes["weights"].tolist()[-1] == pytest.approx(np.mean(cores))
    assert set(sizes["seeds"]) == {2}
    assert sizes["expected"].tolist()[-1] == pytest.approx(0.1**3 * tickets[0].mask.total, rel=1e-3)

    table = means(frame, "ticket").set_index("label")
    assert table.loc["snip", "steps"] == 40.5
    assert table.loc["snip", "kept_density"] == pytest.approx(0.1, abs=1e-4)
    assert set(table["seeds"]) == {2}
    assert means(frame, "layer")["layer"].tolist() == ["1.weight", "3.weight", "5.weight"] * 3

    bars = frame[(frame["kind"] == "histogram") & (frame["label"] == "snip") & (frame["layer"] == "")]
    kept = sum(t.mask.kept for t in tickets if t.provenance["label"] == "snip")
    assert bars[bars["name"] == "initial_kept"]["value"].sum() == kept
    rows = frame[(frame["kind"] == "histogram") & (frame["label"] == "snip") & (frame["layer"] == "1.weight")]
    one = rows[rows["name"] == "initial"]
    z = np.concatenate(
        [t.initial["1.weight"].numpy().ravel() / t.initial["1.weight"].numpy().std() for t in tickets[:2]]
    )
    counts, edges = np.histogram(z, EDGES)
    middles = (edges[:-1] + edges[1:]) / 2
    assert one["at"].tolist() == middles[counts > 0].tolist()
    assert one["value"].tolist() == counts[counts > 0].tolist()


def test_choices_of_tickets(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, [make_ticket("snip", 0), make_ticket("snip", 0, 0.2), make_ticket("grasp", 0, 0.2)])
    assert places(anatomy(folder)) == [(WORKLOAD, 0.1), (WORKLOAD, 0.2)]
    frame = anatomy(folder, density=0.2)
    assert set(frame["density"]) == {0.2}
    assert set(anatomy([folder / "tickets" / f"{1:064x}.safetensors"])["density"]) == {0.2}
    with pytest.raises(ValueError, match=r"no ticket of density 0\.3; there are tickets of 0\.1, 0\.2"):
        anatomy(folder, density=0.3)


def test_recipes_of_one_name_stay_apart(tmp_path: Path) -> None:
    tickets = [
        make_ticket(label, 0, workload={"recipe": {"max_steps": n}}) for label in ("snip", "grasp") for n in (1, 2)
    ]
    found = places(anatomy(make_folder(tmp_path, tickets)))
    assert len(found) == 2
    assert all(workload.startswith(f"{WORKLOAD} [") for workload, _ in found)


def test_no_tickets_damaged_ones_and_ones_of_unknown_origin(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing at"):
        ticket_files(tmp_path / "missing")
    with pytest.raises(ValueError, match="--keep-tickets"):
        anatomy(tmp_path)
    folder = make_folder(tmp_path, [make_ticket("snip"), make_ticket("grasp")])
    bare = Ticket.of(build_network("lenet_300_100", (8,), 2, 0), make_ticket().mask)
    bare.save(tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match=r"bare\.safetensors does not say how it was found"):
        anatomy(tmp_path / "bare.safetensors")
    out = tmp_path / "anatomy.parquet"
    anatomy(folder, out)
    before = out.read_bytes()
    damaged = folder / "tickets" / f"{1:064x}.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged or truncated"):
        anatomy(folder, out)
    assert out.read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_a_file_that_is_no_anatomy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "anatomy.parquet"
    with pytest.raises(FileNotFoundError, match="no anatomy at"):
        read_anatomy(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="truncated or no Parquet file"):
        read_anatomy(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(ValueError, match="but no anatomy"):
        read_anatomy(path)
    monkeypatch.setattr(scratchcard.analysis.anatomy, "FORMAT_VERSION", b"99")
    anatomy(make_folder(tmp_path, [make_ticket()]), path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="version"):
        read_anatomy(path)
    anatomy(tmp_path, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged"):
        read_anatomy(path)
