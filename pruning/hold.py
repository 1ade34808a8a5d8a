"""Hold: pruned weights stay exactly zero in a training loop that is not ours."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, inside, prunable


class HeldWeight:
    """One weight whose pruned entries are held at zero.

    It lies among the load hooks of the modules that own the weight, so that it is copied with them: the held weight of
    a deep copy is a copy's own.

    Attributes:
        parameter: the weight.
        kept: boolean, of its shape; True = kept.

    Examples:
        >>> weight = nn.Parameter(torch.ones(1, 2))
        >>> held = HeldWeight(weight, torch.tensor([[True, False]]))
        >>> weight.sum().backward()
        >>> weight.data, weight.grad
        (tensor([[1., 0.]]), tensor([[1., 0.]]))
        >>> held.release()
    """

    def __init__(self, parameter: nn.Parameter, kept: Tensor) -> None:
        self.parameter, self.kept = parameter, kept
        self._hook: RemovableHandle | None = None
        self.attach()

    def attach(self) -> None:
        """Zero the pruned entries now, and after every gradient and step to come."""
        held = weakref.ref(self)  # torch keeps hooks where the garbage collector does not see them

        def mask_gradient(parameter: Tensor) -> None:
            if (found := held()) is not None:
                found._mask_gradient(parameter)

        frozen = not self.parameter.requires_grad  # for now: it may be thawed within the loop
        self.parameter.requires_grad_(True)
        self._hook = self.parameter.register_post_accumulate_grad_hook(mask_gradient)  # type: ignore[no-untyped-call]
        self.parameter.requires_grad_(not frozen)
        _STEPS.add(self)
        self.zero()

    def release(self) -> None:
        """Let go; the weight stays as it is."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        _STEPS.remove(self)

    def zero(self) -> None:
        """Set the pruned entries of the weight to zero."""
        with torch.no_grad():
            self.parameter.masked_fill_(self._pruned(self.parameter), 0)

    def zero_moments(self, optimizer: Optimizer) -> None:
        """Set the pruned entries of what the optimiser remembers of the weight to zero."""
        for value in optimizer.state.get(self.parameter, {}).values():
            for tensor in _tensors(value):
                if tensor.shape == self.parameter.shape and tensor.is_floating_point():
                    tensor.masked_fill_(self._pruned(tensor), 0)

    def __call__(self, module: nn.Module, incompatible_keys: Any) -> None:
        """After `load_state_dict` of a module that owns the weight."""
        del module, incompatible_keys
        self.zero()

    def __deepcopy__(self, memo: dict[int, Any]) -> HeldWeight:
        # The copy of the weight that the copied module gets too: `memo` knows it, or learns it here.
        return type(self)(copy.deepcopy(self.parameter, memo), self.kept)

    def __getstate__(self) -> dict[str, Any]:
        return {"parameter": self.parameter, "kept": self.kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _mask_gradient(self, parameter: Tensor) -> None:
        gradient = parameter.grad
        if gradient is None:
            return
        with torch.no_grad():
            if gradient.layout is torch.sparse_coo:  # an embedding's, with `sparse=True`
                gradient = gradient.coalesce()
                pruned = self._pruned(gradient)[gradient.indices().unbind()]
                values = gradient.values().masked_fill(pruned, 0)
                parameter.grad = torch.sparse_coo_tensor(
                    gradient.indices(), values, gradient.shape, check_invariants=True
                )
            else:
                # Not a product: what has overflowed must not become 0 * inf.
                gradient.masked_fill_(self._pruned(gradient), 0)

    def _pruned(self, like: Tensor) -> Tensor:
        if self.kept.device != like.device:
            self.kept = self.kept.to(like.device)
        return ~self.kept


class _Steps:
    """All held weights of the process, by the identity of their parameter, and the one hook after optimisers' steps.

    The hook stands while something is held: an optimiser may be made later, or by somebody else's code, and some move
    weights whose gradients have always been zero (Muon, which makes a matrix' momentum orthogonal).
    """

    def __init__(self) -> None:
        self._held: weakref.WeakValueDictionary[int, HeldWeight] = weakref.WeakValueDictionary()
        self._hook: RemovableHandle | None = None

    def add(self, held: HeldWeight) -> None:
        if id(held.parameter) in self._held:
            raise ValueError(
                "a weight of this network is held already; call `.remove()` on the first hold before the second"
            )
        self._held[id(held.parameter)] = held
        weakref.finalize(held, self._tidy).atexit = False
        if self._hook is None:
            self._hook = register_optimizer_step_post_hook(self._after_step)

    def remove(self, held: HeldWeight) -> None:
        self._held.pop(id(held.parameter), None)
        self._tidy()

    def _tidy(self) -> None:
        if not self._held and self._hook is not None:
            self._hook.remove()
            self._hook = None

    def of(self, optimizer: Optimizer) -> Iterator[HeldWeight]:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                held = self._held.get(id(parameter))
                if held is not None and held.parameter is parameter:
                    yield held

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        for held in self.of(optimizer):
            held.zero()
            held.zero_moments(optimizer)


_STEPS = _Steps()


class Hold:
    """What `hold` returns: a handle, and a context manager whose end lets go.

    Attributes:
        network: whose pruned weights are held, without wrappers.
        mask: the kept weights.

    Examples:
        >>> network, mask = nn.Linear(2, 1), Mask({"weight": torch.tensor([[True, False]])})
        >>> held = hold(network, mask)
        >>> held
        Hold(Linear: holds 1 pruned weights)
        >>> held.remove()
        >>> held
        Hold(Linear: has let go of 1 pruned weights)
    """

    def __init__(self, network: nn.Module, mask: Mask) -> None:
        self.network, self.mask = network, mask
        weights = prunable(network)
        check_same_layout(weights, mask.tensors, "the mask")
        owners: dict[int, list[nn.Module]] = {}
        for module in network.modules():
            for parameter in module.parameters(recurse=False):
                owners.setdefault(id(parameter), []).append(module)
        self._weights: list[HeldWeight] = []
        self._hooks: list[RemovableHandle] = []
        try:
            for name, weight in weights.items():
                held = HeldWeight(weight, mask.tensors[name].to(weight.device))
                self._weights.append(held)
                # Every owner's, so that loading a part of the network is heard too.
                for module in owners[id(weight)]:
                    self._hooks.append(module.register_load_state_dict_post_hook(held))  # type: ignore[no-untyped-call]
        except ValueError:
            self.remove()
            raise

    def remove(self) -> None:
        """Let go: the weights stay zero until somebody moves them. A second call does nothing."""
        for hook in self._hooks:
            hook.remove()
        for held in self._weights:
            held.release()
        self._hooks, self._weights = [], []

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        state = "holds" if self._weights else "has let go of"
        return f"Hold({type(self.network).__name__}: {state} {self.mask.total - self.mask.kept:,} pruned weights)"


def hold(network: nn.Module, mask: Mask, optimizer: Optimizer | None = None) -> Hold:
    """Hold the pruned weights of `network` at exactly zero in any training loop.

    They are set to zero now. From then on their gradients are set to zero as they are accumulated, so that clipping and
    accumulation count kept weights only; and after each step of any optimiser that has them, so are the weights
    themselves and what the optimiser remembers of them. Neither weight decay nor moments from before can move them. The
    same goes for `load_state_dict`, of the whole or of a part. Deep copies of the network (an EMA's, say) are held too,
    as long as they live. No forward pass is changed.

    Args:
        network: as it will be trained; inside of `DataParallel`, `DistributedDataParallel`, `AveragedModel` and
            compiled wrappers.
        mask: the kept weights.
        optimizer: one that has trained the network already: what it remembers of pruned weights is set to zero now.
            Without it that happens after its next step.

    Returns:
        A handle with `.remove()`, which is also a context manager.

    Raises:
        ValueError: a mask of another network, or a network that is held already.

    >>> network = nn.Linear(3, 2)
    >>> mask = Mask({"weight": torch.tensor([[True, False, True], [False, True, False]])})
    >>> optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    >>> with hold(network, mask):
    ...     network(torch.ones(4, 3)).square().sum().backward()
    ...     optimizer.step()
    >>> int((network.weight != 0).sum())
    3
    """
    held = Hold(inside(network), mask)
    if optimizer is not None:
        for weight in _STEPS.of(optimizer):
            weight.zero_moments(optimizer)
    return held


def verify(network: nn.Module, mask: Mask) -> None:
    """Prove that every pruned weight of `network` is exactly zero.

    Raises:
        ValueError: some are not; says how many of which layers, and what to do. Or a mask of another network.

    >>> network = nn.Linear(2, 1)
    >>> mask = Mask({"weight": torch.tensor([[True, False]])})
    >>> mask.apply_to(network)
    >>> verify(network, mask)
    """
    moved = {name: number for name, number in moved_weights(network, mask).items() if number}
    if moved:
        named = ", ".join(f"{number:,} of {name}" for name, number in moved.items())
        raise ValueError(
            f"{sum(moved.values()):,} pruned weights are not zero ({named}); hold them while training: "
            "scratchcard.hold(network, mask)"
        )


def moved_weights(network: nn.Module, mask: Mask) -> Mapping[str, int]:
    """How many pruned weights of each layer are not exactly zero; by name, zeros included.

    >>> moved_weights(nn.Linear(1, 1), Mask({"weight": torch.tensor([[True]])}))
    {'weight': 0}
    """
    weights = prunable(network)
    check_same_layout(weights, mask.tensors, "the mask")
    with torch.no_grad():
        return {name: int((w[~mask.tensors[name].to(w.device)] != 0).sum()) for name, w in weights.items()}


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of an entry of an optimiser's state: L-BFGS keeps some in lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)
