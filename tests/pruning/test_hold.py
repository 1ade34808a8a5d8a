"""Held weights stay exactly zero, whatever the optimiser and the loop do; what is kept trains as without the hold."""

from __future__ import annotations

import copy
import gc
import io

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scratchcard.pruning.hold import hold, verify
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable

OPTIMIZERS = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
}
SETTINGS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "LBFGS": {"lr": 0.5},
    "Muon": {"weight_decay": 0.1},
}


def network() -> nn.Sequential:
    """Two linear layers without biases, since Muon takes matrices only."""
    return nn.Sequential(nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False))


def some(of: nn.Module) -> Mask:
    generator = torch.Generator().manual_seed(3)
    return Mask({name: torch.rand(w.shape, generator=generator) < 0.4 for name, w in prunable(of).items()})


def optimizer_of(name: str, of: nn.Module) -> torch.optim.Optimizer:
    settings = SETTINGS.get(name, {} if name in ("Rprop", "SparseAdam") else {"weight_decay": 0.1})
    return OPTIMIZERS[name](of.parameters(), **settings)


def step(of: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor | None = None) -> None:
    inputs = torch.randn(8, 6) if inputs is None else inputs

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(of(inputs), torch.arange(8) % 3)
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]


@pytest.mark.parametrize("late", [False, True], ids=["from the start", "after dense steps"])
@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"SparseAdam"}))
def test_every_optimiser_leaves_pruned_weights_at_zero_and_moves_the_others(name: str, late: bool) -> None:
    net = network()
    optimizer = optimizer_of(name, net)
    for _ in range(3 if late else 0):  # moments of all weights
        step(net, optimizer)
    mask = some(net)
    with hold(net, mask):
        before = copy.deepcopy(net.state_dict())
        for _ in range(4):
            step(net, optimizer)
            verify(net, mask)
    assert all(bool((before[n] != w)[mask.tensors[n]].any()) for n, w in prunable(net).items())


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop", "Adagrad"])
def test_kept_weights_train_as_under_a_masked_forward_pass(name: str) -> None:
    """The reference multiplies the weights with the mask in every forward pass."""
    ours, reference = network(), network()
    reference.load_state_dict(ours.state_dict())
    mask = some(ours)
    mask.apply_to(reference)
    masks = {n: kept.to(torch.get_default_dtype()) for n, kept in mask.tensors.items()}

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = reference

        def forward(self, inputs: Tensor) -> Tensor:
            state = {n: p * masks[n] for n, p in self.net.named_parameters()}
            out: Tensor = torch.func.functional_call(self.net, state, (inputs,))
            return out

    masked, inputs = Masked(), torch.randn(8, 6)
    one, two = optimizer_of(name, ours), optimizer_of(name, masked)
    hold(ours, mask)
    for _ in range(5):
        step(ours, one, inputs)
        step(masked, two, inputs)
    for n, weight in prunable(ours).items():
        assert torch.allclose(weight, reference.get_parameter(n) * masks[n], atol=1e-6)


def test_moments_from_before_are_gone_at_once_with_the_optimiser() -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    step(net, optimizer)
    mask = some(net)
    hold(net, mask, optimizer)
    for n, weight in prunable(net).items():
        assert not optimizer.state[weight]["exp_avg"][~mask.tensors[n]].any()
        assert optimizer.state[weight]["exp_avg"][mask.tensors[n]].all()


def test_clipping_counts_kept_weights_only_and_accumulation_adds_up() -> None:
    net, inputs = network(), torch.randn(8, 6)
    mask = some(net)
    hold(net, mask)
    for _ in range(2):
        net(inputs).square().sum().backward()
    once = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    expected = torch.cat([g[k] for g, k in zip(once, mask.tensors.values(), strict=True)]).norm()
    assert torch.allclose(nn.utils.clip_grad_norm_(net.parameters(), 1e9), expected)
    net.zero_grad()
    net(inputs).square().sum().backward()
    assert all(torch.allclose(2 * p.grad, g) for p, g in zip(net.parameters(), once, strict=True) if p.grad is not None)


def test_overflowed_gradients_of_pruned_weights_become_zero_not_nan() -> None:
    net = nn.Linear(2, 1, bias=False)
    mask = Mask({"weight": torch.tensor([[True, False]])})
    hold(net, mask)
    net(torch.tensor([[1.0, torch.inf]])).sum().backward()
    assert net.weight.grad is not None
    assert net.weight.grad.tolist() == [[1.0, 0.0]]


def test_autocast_with_a_gradient_scaler() -> None:
    net = network()
    mask, optimizer = some(net), torch.optim.AdamW(net.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu")
    hold(net, mask)
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = net(torch.randn(8, 6)).square().sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    verify(net, mask)


def test_loading_a_state_zeroes_it_of_the_whole_and_of_a_part() -> None:
    net, other = network(), network()
    mask = some(net)
    hold(net, mask)
    net.load_state_dict(other.state_dict())
    verify(net, mask)
    first = net[0]
    first.load_state_dict(other[0].state_dict())
    verify(net, mask)
    kept = mask.tensors["0.weight"]
    assert torch.equal(first.weight[kept], other[0].weight[kept])


def test_a_deep_copy_and_an_unpickled_copy_are_held_on_their_own() -> None:
    net = network()
    mask = some(net)
    held = hold(net, mask)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    copies = [copy.deepcopy(net), torch.load(file, weights_only=False)]
    held.remove()
    for each in copies:
        assert all(a is not b for a, b in zip(each.parameters(), net.parameters(), strict=True))
        step(each, torch.optim.AdamW(each.parameters(), lr=0.1))
        verify(each, mask)
        each.load_state_dict(network().state_dict())
        verify(each, mask)


def test_averages_of_a_held_network_are_held() -> None:
    net = network()
    mask = some(net)
    hold(net, mask)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        step(net, optimizer)
        average.update_parameters(net)
    verify(average, mask)
    assert any(bool((a != b).any()) for a, b in zip(average.module.parameters(), net.parameters(), strict=True))


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda n: torch.compile(n, backend="eager")])
def test_wrappers_are_looked_into(wrap: object) -> None:
    net = network()
    mask = some(net)
    wrapped = wrap(net)  # type: ignore[operator]
    hold(wrapped, mask)
    step(wrapped, torch.optim.AdamW(wrapped.parameters(), lr=0.1))
    verify(wrapped, mask)
    verify(net, mask)
    mask.apply_to(wrapped)


def test_sparse_gradients_of_embeddings() -> None:
    net = nn.Embedding(7, 3, sparse=True)
    mask = some(net)
    hold(net, mask)
    optimizer = torch.optim.SparseAdam(net.parameters(), lr=0.1)
    before = net.weight.detach().clone()
    net(torch.tensor([0, 2, 2])).square().sum().backward()
    optimizer.step()
    verify(net, mask)
    moved = (before != net.weight) & mask.tensors["weight"]
    assert moved[[0, 2]].any()
    assert not moved[[1, 3, 4, 5, 6]].any()


def test_tied_weights_are_held_once() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    net[2].weight = net[0].weight
    mask = some(net)
    hold(net, mask)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.randn(3, 4)).square().sum().backward()
    optimizer.step()
    net[2].load_state_dict(nn.Linear(4, 4, bias=False).state_dict())
    verify(net, mask)


def test_a_removed_hold_lets_go_and_leaves_nothing_behind() -> None:
    from torch.optim import optimizer as module

    gc.collect()  # held networks of other tests
    net = network()
    mask = some(net)
    held = hold(net, mask)
    assert len(module._global_optimizer_post_hooks) == 1
    assert "holds" in repr(held)
    held.remove()
    held.remove()
    step(net, torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(ValueError, match=r"pruned weights are not zero \(\d+ of 0.weight.*hold them"):
        verify(net, mask)
    with hold(net, mask):
        verify(net, mask)
    assert not net[0]._load_state_dict_post_hooks
    assert all(not p._post_accumulate_grad_hooks for p in net.parameters())  # type: ignore[attr-defined]
    assert not module._global_optimizer_post_hooks


def test_a_second_hold_and_another_networks_mask_are_refused_and_change_nothing() -> None:
    net = network()
    mask = some(net)
    with pytest.raises(ValueError, match="the mask: expected the weights"):
        hold(net, Mask({"weight": torch.ones(2, 2, dtype=torch.bool)}))
    with hold(net, mask), pytest.raises(ValueError, match="held already"):
        hold(net, mask)
    with hold(net, mask):
        verify(net, mask)


def test_a_frozen_weight_is_zeroed_and_stays() -> None:
    net = network()
    net[0].requires_grad_(False)
    mask = some(net)
    hold(net, mask)
    step(net, torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1))
    verify(net, mask)


def test_a_frozen_weight_that_is_thawed_later_has_masked_gradients() -> None:
    """They counted in clipping."""
    network = nn.Linear(3, 2)
    network.weight.requires_grad_(False)
    mask = Mask({"weight": torch.tensor([[True, False, True], [False, True, False]])})
    with hold(network, mask):
        assert not network.weight.requires_grad
        network.weight.requires_grad_(True)
        network(torch.ones(4, 3)).sum().backward()
        assert network.weight.grad is not None
        assert torch.equal(network.weight.grad != 0, mask.tensors["weight"])
