"""The linear image of a network: the sum over its paths of the product of the prunable weights on each.

SynFlow scores the paths of this image, and connectivity asks it which weights lie on a path at all. What is a path, and
why, stands in `signals`; what each operation does to paths, in `linear_operations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from scratchcard.pruning.inputs import Inputs, in_layer, tensors, told
from scratchcard.pruning.linear_operations import OPERATIONS
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import inside, prunable
from scratchcard.pruning.row_blocks import LARGE, RowBlocks
from scratchcard.pruning.signals import Run, Signal, UnknownOperation, joined
from scratchcard.pruning.state import copied_module
from scratchcard.words import said


class LinearImage:
    """A network read as sums over paths. Made once, it serves for many masks while the network keeps its layers.

    The network's `forward` is called, on a copy of its modules in eval mode, which shares the parameters that are not
    prunable and has `leaves` in place of those that are.

    Args:
        network: left untouched.
        pooling: `"keep"` leaves maxima as they are; `"average"` makes them means, so that *every* path carries
            something.
        cut: only whether there is a path counts, see `Run`.
        in_blocks: make no image of a large matrix that only linear layers use; see `rows`.

    Attributes:
        leaves: the weights of the image by name, float64, or float32 where the image is cut; to be set by `put`;
            gradients can be taken of them.
        rows: by leaf's name, of a large matrix: in place of the leaf's memory and of its gradient (`RowBlocks`).
        begin: `()`, a leaf: what paths carry that begin at a weight, such as those from a table of positions.

    Raises:
        ValueError: nothing to prune.

    Examples:
        >>> image = LinearImage(nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1)))
        >>> image.put({name: torch.ones_like(leaf) for name, leaf in image.leaves.items()})
        >>> float(image(torch.ones(1, 2, dtype=torch.float64)).detach().sum())
        6.0
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        pooling: Literal["keep", "average"] = "keep",
        cut: bool = False,
        in_blocks: bool = False,
    ) -> None:
        own = prunable(network)
        weight = next(iter(own.values()))
        numbers = torch.float32 if cut else torch.float64  # of zeros and ones, cut anew behind every sum
        self.begin = torch.ones((), dtype=numbers, device=weight.device, requires_grad=True)
        dtype = next((w.dtype for w in own.values() if w.is_floating_point()), torch.float32)
        self._run = Run(OPERATIONS, dtype, pooling, cut, self.begin)
        self.leaves = {
            name: torch.empty_like(w, dtype=numbers, requires_grad=False).requires_grad_() for name, w in own.items()
        }
        # deepcopy takes what its memo already holds: wherever the network keeps a weight, its signal stands.
        memo: dict[int, Any] = {id(parameter): parameter for parameter in network.parameters()}
        self._weights: list[Signal] = []
        for k, (name, parameter) in enumerate(own.items()):
            signal = Signal(self.leaves[name], self._run, weight=True, some=1 << k, once=1 << k)
            signal._is_param = True
            memo[id(parameter)] = signal
            self._weights.append(signal)
        kind = type(inside(network)).__name__
        with told(lambda: f"{kind} cannot be copied, which its linear image needs"):
            self.network = copied_module(inside(network), memo).eval()
        self._padding = padding_token(network)
        self._large = [name for name, w in own.items() if in_blocks and w.ndim == 2 and w.numel() >= LARGE]
        self.rows: dict[str, RowBlocks] = {}
        self.cuts: tuple[str, ...] = ()

    def put(self, weights: Mapping[str, Tensor], mask: Mask | None = None, power: float | None = None) -> None:
        """Set the leaves to `|w|^power * mask` (with `power` None to `w * mask`), in place."""
        with torch.no_grad():
            for name, leaf in self.leaves.items():
                kept = None if mask is None else mask.tensors[name].to(leaf.device)
                rows = RowBlocks(weights[name].detach(), kept, power, leaf.dtype)
                if name in self._large:
                    self.let_go(name)
                    self.rows[name] = rows
                else:
                    rows.make(leaf)

    def let_go(self, name: str) -> None:
        """Give back the memory of a leaf that no backward pass needs any more, until the next `put`."""
        self.leaves[name].untyped_storage().resize_(0)

    def any(self, name: str) -> bool:
        """Whether a number of a leaf is not zero."""
        rows = self.rows.get(name)
        return bool(self.leaves[name].any()) if rows is None or rows.made else rows.any()

    def __call__(self, features: Inputs, tokens: Inputs | None = None) -> Tensor:
        """The outputs for these inputs, in the leaves' precision; several tensors as one vector.

        Afterwards `cuts` has the names of the layers that every path crosses exactly once.

        Args:
            features: `(n, *shape)`, in the leaves' precision, never negative; where `tokens` has the same name, what is
                fed in place of their one-hot vectors. Several by name become keyword arguments; the name of a single
                one is empty.
            tokens: integer inputs, which a network looks up in an embedding, and masks. Of a network that leaves out
                padding (`padding_token`), each is a word: else the first text's length would decide which paths are.

        Raises:
            ValueError: an operation that has no linear image, by name; or outputs that no path leads to.
        """
        fed, whole = tensors(features), tensors({} if tokens is None else tokens)
        if self._padding is not None:
            whole = {name: _filled(tensor, self._padding) for name, tensor in whole.items()}
        self._run.looked_up = [(whole[name], fed[name]) for name in whole if name in fed]
        for k, (signal, (name, leaf)) in enumerate(zip(self._weights, self.leaves.items(), strict=True)):
            # A forward may have changed its own weights (masks them, say).
            signal.reset(leaf, 1 << k, self.rows.get(name))
        given = {n: Signal(tensor, self._run, once=0) for n, tensor in fed.items() if n not in whole} | whole
        try:
            outputs = self.network(given[""]) if "" in given else self.network(**given)
            outputs = outputs["logits"] if isinstance(outputs, Mapping) and "logits" in outputs else outputs
            found = [leaf.begun() for leaf in tree_leaves(outputs) if isinstance(leaf, Signal)]
            values = [signal.now for signal in found]
        except UnknownOperation as error:
            raise ValueError(
                f"{type(self.network).__name__} has no linear image, as there is no rule for {error}"
                f"{in_layer(self.network)}; use layers and functions that "
                "docs/linear_image.md lists, or a criterion that needs no paths, such as SNIP"
            ) from error
        except (ValueError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # foreign code can raise anything
            raise ValueError(
                f"{type(self.network).__name__} has no linear image: called with signals in place of tensors"
                f"{in_layer(self.network)}, it raised {said(error)}; use a criterion that needs no paths, such as SNIP"
            ) from error
        if not found:
            raise ValueError(
                f"no path leads from the inputs of {type(self.network).__name__} to its outputs: what it returns is "
                "computed from constants alone (or outside of torch)"
            )
        _, once = joined(found)
        self.cuts = tuple(name for k, name in enumerate(self.leaves) if once >> k & 1) if once != -1 else ()
        return values[0] if len(values) == 1 else torch.cat([value.reshape(-1) for value in values])


def padding_token(network: nn.Module) -> int | None:
    """The token that a network of texts leaves out; a module in it says so by an attribute `padding_token`.

    Examples:
        >>> padding_token(nn.Linear(2, 2)) is None
        True
    """
    found = (getattr(module, "padding_token", None) for module in network.modules())
    return next((token for token in found if isinstance(token, int)), None)


def _filled(tokens: Tensor, padding: int) -> Tensor:
    """Texts of the same shape in which every token is a word."""
    return tokens if tokens.dtype == torch.bool else torch.where(tokens == padding, 0 if padding else 1, tokens)
