"""Features: a slow reference weight by weight, invariances, masks, purity."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.dataset_builder.feature_columns import BY_NAME
from scratchcard.dataset_builder.features import FEATURES, compute_features
from scratchcard.dataset_builder.share_ranks import ascending, share_ranks
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.score_tables.schema import THESIS_FEATURES, FeatureBlock, TableSchema
from scratchcard.scorers import GraSP, SynFlow, SynFlowL2Data

NAMES = tuple(column.name for column in FEATURES)
Batch = tuple[Tensor, Tensor]


def make_mlp(*sizes: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(dtype)


def make_batch(n: int, *shape: int, classes: int = 3, seed: int = 1, dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, *shape, generator=generator, dtype=dtype)
    inputs[inputs.abs() < 0.4] = 0  # some exact zeros
    return inputs, torch.randint(0, classes, (n,), generator=generator)


def make_mask(network: nn.Module, density: float, seed: int = 2) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    return Mask({n: torch.rand(w.shape, generator=generator) < density for n, w in prunable(network).items()})


def tabulate(blocks: list[FeatureBlock]) -> dict[str, dict[int, dict[str, float]]]:
    """`table[parameter][index][feature]`."""
    table: dict[str, dict[int, dict[str, float]]] = {}
    for block in blocks:
        rows = table.setdefault(block.parameter, {})
        for index, row in zip(block.indices.tolist(), block.values.tolist(), strict=True):
            rows[index] = dict(zip(block.names, row, strict=True))
    return table


def stacked(network: nn.Module, batch: Batch, **options: object) -> np.ndarray:
    options.setdefault("density", 0.1)
    return np.concatenate(
        [block.values for block in compute_features(network, batch, F.cross_entropy, **options)]  # type: ignore[arg-type]
    )


# An independent, slow reference for chains of linear layers and ReLUs.


def mean(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers)


def std(numbers: list[float]) -> float:
    middle = mean(numbers)
    return math.sqrt(mean([(x - middle) ** 2 for x in numbers]))


def rank_of(own: float, others: list[float]) -> float:
    below = sum(x < own for x in others)
    return (below + (sum(x == own for x in others) + 1) / 2) / len(others)


def reference(
    network: nn.Sequential, batch: Batch, mask: Mask, density: float
) -> dict[str, dict[int, dict[str, float]]]:
    """Every feature of every kept weight, each from its own formula."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    names = list(prunable(network))
    inputs, targets = batch
    n = len(targets)
    weights = [
        (layer.weight.detach() * mask.tensors[name]).requires_grad_() for layer, name in zip(layers, names, strict=True)
    ]

    # Forward and backward by hand; `entering[l]` are a layer's inputs, `deltas[l]` n dL/dz.
    entering, outgoing = [], []
    x = inputs.flatten(1)
    for place, (layer, w) in enumerate(zip(layers, weights, strict=True)):
        entering.append(x.detach())
        z = x @ w.T + layer.bias.detach()
        z.retain_grad()
        outgoing.append(z)
        x = torch.relu(z) if place < len(layers) - 1 else z
    F.cross_entropy(x, targets).backward()
    deltas = [z.grad * n for z in outgoing]
    gradients = [w.grad for w in weights]
    leaving = [*entering[1:], outgoing[-1].detach()]

    def kept(place: int) -> list[tuple[int, int]]:
        return [tuple(pair) for pair in mask.tensors[names[place]].nonzero().tolist()]

    criteria: dict[str, list[Tensor]] = {
        "magnitude": [w.detach().abs() for w in weights],
        "snip": [(w.detach() * g).abs() for w, g in zip(weights, gradients, strict=True)],
        "saliency": [w.detach() * g for w, g in zip(weights, gradients, strict=True)],
        "weight": [w.detach() for w in weights],
        "gradient": list(gradients),
    }
    for label, scorer in {"grasp": GraSP(), "synflow": SynFlow(), "l2": SynFlowL2Data()}.items():
        scores = scorer(network, batch, F.cross_entropy, mask=mask).tensors
        criteria[label] = [scores[name] for name in names]
    everything = {
        what: [float(t[o, i]) for place, t in enumerate(tensors) for o, i in kept(place)]
        for what, tensors in criteria.items()
    }

    def minmax(what: str, own: float) -> float:
        low, high = min(everything[what]), max(everything[what])
        return (own - low) / (high - low)

    def relative(sums: list[float], counts: list[int], unit: int) -> float:
        return sums[unit] / mean([s for s, c in zip(sums, counts, strict=True) if c])

    table: dict[str, dict[int, dict[str, float]]] = {}
    for place, name in enumerate(names):
        pairs = kept(place)
        rows = {o: [(o, i) for p, i in pairs if p == o] for o in range(layers[place].out_features)}
        columns = {i: [(o, i) for o, j in pairs if j == i] for i in range(layers[place].in_features)}
        table[name] = {}

        def values(what: str, chosen: list[tuple[int, int]], place: int = place) -> list[float]:
            return [float(criteria[what][place][pair]) for pair in chosen]

        def row_sum(what: str, o: int, rows: dict[int, list[tuple[int, int]]] = rows, place: int = place) -> float:
            sums = [math.fsum(float(criteria[what][place][p]) for p in row) for row in rows.values()]
            return relative(sums, [len(row) for row in rows.values()], o)

        def column_sum(
            what: str, i: int, columns: dict[int, list[tuple[int, int]]] = columns, place: int = place
        ) -> float:
            sums = [math.fsum(float(criteria[what][place][p]) for p in column) for column in columns.values()]
            return relative(sums, [len(column) for column in columns.values()], i)

        def next_column_sum(o: int, place: int = place) -> float:
            if place + 1 == len(layers):
                return 0.0
            t, m = criteria["magnitude"][place + 1], mask.tensors[names[place + 1]]
            return relative(t.sum(0).tolist(), m.sum(0).tolist(), o)

        def previous_row_sum(i: int, place: int = place) -> float:
            if place == 0:
                return 0.0
            t, m = criteria["magnitude"][place - 1], mask.tensors[names[place - 1]]
            return relative(t.sum(1).tolist(), m.sum(1).tolist(), i)

        for o, i in pairs:
            own = {what: float(tensors[place][o, i]) for what, tensors in criteria.items()}
            before = entering[place][:, i].tolist()
            after = leaving[place][:, o].tolist()
            delta = deltas[place][:, o].tolist()
            layer_rms = {what: math.sqrt(mean([x * x for x in values(what, pairs)])) for what in ("weight", "gradient")}
            table[name][o * layers[place].in_features + i] = {
                "snip": minmax("snip", own["snip"]),
                "grasp": minmax("grasp", own["grasp"]),
                "synflow": minmax("synflow", own["synflow"]),
                "magnitude": minmax("magnitude", own["magnitude"]),
                "weight": own["weight"],
                "layer_norm": math.sqrt(math.fsum(x * x for x in values("weight", pairs))),
                "input_max": max(before),
                "input_mean": mean(before),
                "output_max": max(after),
                "output_mean": mean(after),
                "snip_log": math.log10(1e-6 + own["snip"] / mean(everything["snip"])),
                "grasp_asinh": math.asinh(own["grasp"] / mean([abs(x) for x in everything["grasp"]])),
                "synflow_log": math.log10(1e-6 + own["synflow"] / mean(everything["synflow"])),
                "synflow_l2_data_log": math.log10(1e-6 + own["l2"] / mean(everything["l2"])),
                "weight_layer": own["weight"] / layer_rms["weight"],
                "magnitude_rank_layer": rank_of(own["magnitude"], values("magnitude", pairs)),
                "magnitude_rank_row": rank_of(own["magnitude"], values("magnitude", rows[o])),
                "magnitude_rank_column": rank_of(own["magnitude"], values("magnitude", columns[i])),
                "saliency_rank_layer": rank_of(own["snip"], values("snip", pairs)),
                "saliency_rank_row": rank_of(own["snip"], values("snip", rows[o])),
                "saliency_rank_column": rank_of(own["snip"], values("snip", columns[i])),
                "grasp_rank_layer": rank_of(own["grasp"], values("grasp", pairs)),
                "synflow_rank_layer": rank_of(own["synflow"], values("synflow", pairs)),
                "synflow_l2_data_rank_layer": rank_of(own["l2"], values("l2", pairs)),
                "saliency": own["saliency"] / math.sqrt(mean([x * x for x in everything["saliency"]])),
                "gradient": own["gradient"] / layer_rms["gradient"],
                "input_std": std(before),
                "input_zero_rate": mean([float(x == 0) for x in before]),
                "output_std": std(after),
                "output_zero_rate": mean([float(x == 0) for x in after]),
                "output_gradient_mean": mean(delta),
                "output_gradient_std": std(delta),
                "row_magnitude": row_sum("magnitude", o),
                "column_magnitude": column_sum("magnitude", i),
                "row_saliency": row_sum("snip", o),
                "column_saliency": column_sum("snip", i),
                "row_synflow_l2_data": row_sum("l2", o),
                "column_synflow_l2_data": column_sum("l2", i),
                "input_incoming": previous_row_sum(i),
                "output_outgoing": next_column_sum(o),
                "depth": place / (len(layers) - 1),
                "layers_after": len(layers) - 1 - place,
                "fan_in": math.log10(len(rows[o])),
                "fan_out": math.log10(len(columns[i])),
                "layer_share": math.log10(len(pairs) / mask.kept),
                "density": math.log10(density),
            }
    return table


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_every_feature_against_a_slow_reference(density: float) -> None:
    network, batch = make_mlp(6, 5, 4, 3), make_batch(9, 6)
    mask = make_mask(network, density)
    asked = 0.05
    found = tabulate(list(compute_features(network, batch, F.cross_entropy, mask=mask, density=asked)))
    expected = reference(network, batch, mask, asked)
    assert list(found) == list(expected)
    for parameter, rows in expected.items():
        assert list(found[parameter]) == list(rows)
        for index, row in rows.items():
            assert set(row) == set(NAMES)
            for name, value in row.items():
                assert found[parameter][index][name] == pytest.approx(value, rel=2e-6, abs=2e-6), (
                    parameter,
                    index,
                    name,
                )


def test_without_a_mask_is_as_with_the_dense_one() -> None:
    network, batch = make_mlp(5, 4, 3), make_batch(6, 5)
    np.testing.assert_array_equal(stacked(network, batch), stacked(network, batch, mask=Mask.dense(network)))


def test_closed_forms_on_a_chain_of_two_weights() -> None:
    """x -> 2x -> 3 * 2x; loss (mean of outputs): g1 = 3 mean x, g2 = 2 mean x."""
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        network[0].weight.fill_(2.0)
        network[2].weight.fill_(3.0)
    batch = (torch.tensor([[1.0], [3.0]], dtype=torch.float64), torch.zeros(2))
    blocks = list(compute_features(network, batch, lambda outputs, targets: outputs.mean(), density=0.5))
    first, second = (dict(zip(block.names, block.values[0].tolist(), strict=True)) for block in blocks)
    assert (first["magnitude"], second["magnitude"]) == (0.0, 1.0)
    assert (first["snip"], second["snip"]) == (0.0, 0.0)  # both w g = 12: nothing to tell apart
    assert (first["saliency"], second["saliency"]) == (1.0, 1.0)
    assert (first["input_mean"], first["input_std"], first["input_max"]) == (2.0, 1.0, 3.0)
    assert (first["output_mean"], second["input_mean"], second["output_mean"]) == (4.0, 4.0, 12.0)
    assert (first["output_gradient_mean"], first["output_gradient_std"]) == (3.0, 0.0)
    assert second["output_gradient_mean"] == 1.0
    assert (first["output_outgoing"], first["input_incoming"]) == (1.0, 0.0)
    assert (second["output_outgoing"], second["input_incoming"]) == (0.0, 1.0)
    assert (first["depth"], second["depth"], first["layers_after"]) == (0.0, 1.0, 1.0)
    assert first["layer_share"] == pytest.approx(math.log10(0.5))
    assert first["magnitude_rank_layer"] == 1.0


# Invariances.


def test_hidden_units_in_another_order_have_the_same_features() -> None:
    network, batch = make_mlp(5, 6, 4, 3), make_batch(8, 5)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    other = make_mlp(5, 6, 4, 3)
    with torch.no_grad():
        other[0].weight.copy_(network[0].weight[order])
        other[0].bias.copy_(network[0].bias[order])
        other[2].weight.copy_(network[2].weight[:, order])
    blocks, permuted = (
        [block.values for block in compute_features(n, batch, F.cross_entropy, density=0.1)] for n in (network, other)
    )
    np.testing.assert_allclose(permuted[0].reshape(6, 5, -1), blocks[0].reshape(6, 5, -1)[order], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        permuted[1].reshape(4, 6, -1), blocks[1].reshape(4, 6, -1)[:, order], rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(permuted[2], blocks[2], rtol=1e-6, atol=1e-6)


def test_a_pruned_unit_is_as_if_it_were_not_there() -> None:
    big, batch = make_mlp(5, 4, 3), make_batch(7, 5)
    small = make_mlp(5, 3, 3)
    mask = Mask.dense(big)
    mask.tensors["0.weight"][2] = False
    mask.tensors["2.weight"][:, 2] = False
    live = torch.tensor([0, 1, 3])
    with torch.no_grad():
        small[0].weight.copy_(big[0].weight[live])
        small[0].bias.copy_(big[0].bias[live])
        small[2].weight.copy_(big[2].weight[:, live])
        small[2].bias.copy_(big[2].bias)
    np.testing.assert_allclose(stacked(big, batch, mask=mask), stacked(small, batch), rtol=1e-6, atol=1e-6)


def test_only_kept_weights_have_rows_and_pruned_values_play_no_part() -> None:
    network, batch = make_mlp(5, 4, 3), make_batch(7, 5)
    mask = make_mask(network, 0.5)
    before = list(compute_features(network, batch, F.cross_entropy, mask=mask, density=0.1))
    for block in before:
        kept = mask.tensors[block.parameter].reshape(-1).nonzero().reshape(-1).numpy()
        np.testing.assert_array_equal(block.indices, kept)
        assert block.indices.dtype == np.int64
    with torch.no_grad():
        for name, weight in prunable(network).items():
            weight[~mask.tensors[name]] = 100.0
    after = list(compute_features(network, batch, F.cross_entropy, mask=mask, density=0.1))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_block_size_does_not_matter_and_bounds_the_blocks(density: float) -> None:
    network, batch = make_mlp(7, 6, 3, dtype=torch.float32), make_batch(9, 7, dtype=torch.float32)
    mask = make_mask(network, density)
    whole = list(compute_features(network, batch, F.cross_entropy, mask=mask, density=0.1))
    assert [block.parameter for block in whole] == ["0.weight", "2.weight"]
    cut = list(compute_features(network, batch, F.cross_entropy, mask=mask, density=0.1, rows=7))
    assert max(block.rows for block in cut) == 7
    for parameter in ("0.weight", "2.weight"):
        one, many = ([b for b in blocks if b.parameter == parameter] for blocks in (whole, cut))
        np.testing.assert_array_equal(one[0].values, np.concatenate([b.values for b in many]))
        np.testing.assert_array_equal(one[0].indices, np.concatenate([b.indices for b in many]))


@settings(deadline=None, max_examples=15)
@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
def test_some_features_are_the_same_columns_as_among_all(names: list[str]) -> None:
    network, batch = make_mlp(4, 3, 3), make_batch(5, 4)
    everything = stacked(network, batch)
    np.testing.assert_array_equal(
        stacked(network, batch, names=names), everything[:, [NAMES.index(name) for name in names]]
    )


def test_the_four_of_the_thesis_span_zero_to_one_and_look_at_no_activations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("looked at activations")

    monkeypatch.setattr("scratchcard.dataset_builder.feature_network.observe", refuse)
    network, batch = make_mlp(6, 5, 3), make_batch(9, 6)
    values = stacked(network, batch, names=THESIS_FEATURES)
    np.testing.assert_array_equal(values.min(axis=0), 0.0)
    np.testing.assert_array_equal(values.max(axis=0), 1.0)
    with pytest.raises(AssertionError, match="looked at activations"):
        stacked(network, batch, names=["output_mean"])


def test_batch_twice_gives_the_same_features() -> None:
    network, (inputs, targets) = make_mlp(6, 5, 3), make_batch(9, 6)
    np.testing.assert_allclose(
        stacked(network, (torch.cat([inputs, inputs]), torch.cat([targets, targets]))),
        stacked(network, (inputs, targets)),
        rtol=1e-5,
        atol=1e-6,
    )


def test_repeats_are_bit_equal() -> None:
    network, batch = make_mlp(6, 5, 3, dtype=torch.float32), make_batch(9, 6, dtype=torch.float32)
    np.testing.assert_array_equal(stacked(network, batch), stacked(network, batch))


# Purity.


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_left_as_it_was(training: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)).train(
        training
    )
    batch = make_batch(8, 5, dtype=torch.float32)
    F.cross_entropy(network(batch[0]), batch[1]).backward()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stale = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    generator = torch.get_rng_state()
    mask = make_mask(network, 0.7)
    first = stacked(network, batch, mask=mask)
    assert torch.equal(torch.get_rng_state(), generator)
    assert network.training is training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name])
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, stale[name])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    network.zero_grad()
    np.testing.assert_array_equal(stacked(network, batch, mask=mask), first)
    with torch.no_grad():
        np.testing.assert_array_equal(stacked(network, batch, mask=mask), first)


def test_hooks_are_removed_when_the_loss_fails() -> None:
    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no loss")

    network, batch = make_mlp(4, 3, 3), make_batch(5, 4)
    with pytest.raises(ValueError, match=r"the loss broken cannot take outputs .* no loss"):
        compute_features(network, batch, broken, density=0.1, names=["input_mean"])
    assert not any(module._forward_hooks for module in network.modules())


# Degenerate networks: everything stays finite.


def dead_units(network: nn.Sequential, batch: Batch) -> Mask | None:
    with torch.no_grad():
        network[0].bias.fill_(-1000.0)
    return None


def zero_weights(network: nn.Sequential, batch: Batch) -> Mask | None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return None


def constant_inputs(network: nn.Sequential, batch: Batch) -> Mask | None:
    batch[0].fill_(0.1)
    return None


def zero_inputs(network: nn.Sequential, batch: Batch) -> Mask | None:
    batch[0].zero_()
    return None


def one_kept_weight_in_a_layer(network: nn.Sequential, batch: Batch) -> Mask | None:
    mask = Mask.dense(network)
    mask.tensors["2.weight"].fill_(False)
    mask.tensors["2.weight"][1, 2] = True
    return mask


def a_layer_without_weights(network: nn.Sequential, batch: Batch) -> Mask | None:
    mask = Mask.dense(network)
    mask.tensors["2.weight"].fill_(False)
    return mask


def a_single_weight(network: nn.Sequential, batch: Batch) -> Mask | None:
    mask = Mask({name: torch.zeros_like(w, dtype=torch.bool) for name, w in prunable(network).items()})
    mask.tensors["0.weight"][1, 2] = True
    return mask


def tiny_weights(network: nn.Sequential, batch: Batch) -> Mask | None:
    with torch.no_grad():
        for weight in prunable(network).values():
            weight.mul_(1e-30)
    return None


def huge_inputs(network: nn.Sequential, batch: Batch) -> Mask | None:
    batch[0].mul_(1e10)
    return None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "spoil",
    [
        dead_units,
        zero_weights,
        constant_inputs,
        zero_inputs,
        one_kept_weight_in_a_layer,
        a_layer_without_weights,
        a_single_weight,
        tiny_weights,
        huge_inputs,
    ],
)
def test_all_features_are_finite_on_degenerate_networks(
    spoil: Callable[[nn.Sequential, Batch], Mask | None], dtype: torch.dtype
) -> None:
    network, batch = make_mlp(4, 5, 4, 3, dtype=dtype), make_batch(6, 4, dtype=dtype)
    mask = spoil(network, batch)
    values = stacked(network, batch, mask=mask)
    assert len(values) == (mask or Mask.dense(network)).kept
    assert np.isfinite(values).all()
    for place, column in enumerate(FEATURES):
        if column.transform in ("minmax_network", "rank"):
            assert values[:, place].min() >= 0
            assert values[:, place].max() <= 1
    if spoil is constant_inputs:
        first = values[: 4 * 5, NAMES.index("input_std")]
        np.testing.assert_array_equal(first, 0.0)


def test_a_layer_that_is_never_called_has_no_activations() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    torch.manual_seed(0)
    network = Idle().double()
    blocks = list(compute_features(network, make_batch(5, 4), F.cross_entropy, density=0.1))
    idle = dict(zip(NAMES, blocks[1].values.T, strict=True))
    for name in ("input_mean", "input_max", "output_mean", "output_gradient_std", "gradient", "snip"):
        np.testing.assert_array_equal(idle[name], 0.0)


# Refusals.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["snipp"]}, r"unknown feature 'snipp'.*did you mean 'snip'"),
        ({"names": ["snip", "snip"]}, "each once"),
        ({"names": []}, "expected feature names"),
        ({"rows": 0}, "rows must be at least 1"),
        ({"density": 0.0}, r"density must lie in \(0, 1\]"),
        ({"density": 1.5}, r"density must lie in \(0, 1\]"),
        ({"mask": Mask({"w": torch.ones(1, dtype=torch.bool)})}, "the mask: expected the weights"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options: dict[str, object], message: str) -> None:
    network, batch = make_mlp(4, 3), make_batch(5, 4)
    with pytest.raises(ValueError, match=message):
        compute_features(network, batch, F.cross_entropy, **({"density": 0.1} | options))  # type: ignore[arg-type]


def test_empty_masks_batches_and_networks_are_refused() -> None:
    network, batch = make_mlp(4, 3), make_batch(5, 4)
    empty = Mask({name: torch.zeros_like(w, dtype=torch.bool) for name, w in prunable(network).items()})
    with pytest.raises(ValueError, match="keeps no weight"):
        compute_features(network, batch, F.cross_entropy, mask=empty, density=0.1)
    with pytest.raises(ValueError, match="scoring batch is empty"):
        compute_features(network, make_batch(0, 4), F.cross_entropy, density=0.1, names=["input_mean"])
    with pytest.raises(ValueError, match="nothing to prune"):
        compute_features(nn.ReLU(), batch, F.cross_entropy, density=0.1)


def test_features_that_are_not_finite_are_refused() -> None:
    network, batch = make_mlp(4, 3), make_batch(5, 4)
    batch[0][0, 0] = math.nan
    with pytest.raises(ValueError, match=r"'input_max' of '0\.weight' holds NaN"):
        list(compute_features(network, batch, F.cross_entropy, density=0.1, names=["input_max"]))


# The list itself.


def test_the_list_of_features() -> None:
    assert NAMES[:4] == THESIS_FEATURES
    assert tuple(BY_NAME) == NAMES
    assert len(set(NAMES)) == len(NAMES) >= 45
    assert TableSchema(1, FEATURES).features == NAMES
    for column in FEATURES:
        assert column.role == "feature"
        assert column.description


# Ranks.


@settings(deadline=None, max_examples=60)
@given(
    pairs=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=1, max_size=40),
    wide=st.booleans(),
)
def test_ranks_against_counting(pairs: list[tuple[int, int]], wide: bool) -> None:
    values = np.array([value for value, _ in pairs], dtype=np.float32)
    groups = np.array([group for _, group in pairs], dtype=np.int64) + (70_000 if wide else 0)
    order = ascending(values)
    everything = [rank_of(v, values.tolist()) for v in values.tolist()]
    np.testing.assert_allclose(share_ranks(values, order), everything, rtol=1e-6)
    within = [rank_of(v, values[groups == g].tolist()) for v, g in zip(values.tolist(), groups, strict=True)]
    np.testing.assert_allclose(share_ranks(values, order, groups), within, rtol=1e-6)


def test_ranks_of_nothing() -> None:
    assert share_ranks(np.zeros(0), ascending(np.zeros(0))).shape == (0,)
