"""Export: a ticket's network in the forms that other tools read."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from scratchcard.artefacts.files import written_beside
from scratchcard.artefacts.tensor_file import write_tensors
from scratchcard.pruning.compaction import compact
from scratchcard.pruning.inputs import Inputs
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import check_same_layout, inside, prunable, prunable_layers
from scratchcard.pruning.shrunk import Shrunk
from scratchcard.pruning.state import copied_module
from scratchcard.words import said

About = Mapping[str, Any]
"""What a file says beside the network, as plain JSON by name: how its inputs are normalised, its classes."""
_NOTHING: About = {}
_EXTRA = "about.json"


def to_torch_prune(network: nn.Module, mask: Mask) -> nn.Module:
    """A copy of the network with torch's own pruning: `weight_orig`, `weight_mask`, computed `weight`.

    It is what `torch.nn.utils.prune.custom_from_mask` makes of each prunable weight; its `remove` makes the zeros
    permanent. Weights that several modules share are refused: torch would compute one of them only.

    Raises:
        ValueError: a mask of another network, or shared weights.

    >>> network = nn.Linear(2, 1, bias=False)
    >>> pruned = to_torch_prune(network, Mask({"weight": torch.tensor([[True, False]])}))
    >>> sorted(pruned.state_dict())
    ['weight_mask', 'weight_orig']
    """
    network = copied_module(inside(network))
    weights, layers = prunable(network), prunable_layers(network)
    check_same_layout(weights, mask.tensors, "the mask")
    owned = [id(p) for module in network.modules() for p in module.parameters(recurse=False)]
    for name, weight in weights.items():
        if owned.count(id(weight)) > 1:
            raise ValueError(
                f"the weight {name!r} is shared by several modules, which torch.nn.utils.prune cannot say; "
                "export a plain state instead (safetensors or pt)"
            )
        kept = mask.tensors[name].to(weight.device, weight.dtype)
        torch_prune.custom_from_mask(layers[name], name.rpartition(".")[2], kept)  # type: ignore[no-untyped-call]
    return network


def compacted(network: nn.Module, mask: Mask, inputs: Inputs | None = None) -> tuple[nn.Module, Tensor | None]:
    """The small network for inference: what the mask makes useless removed, constants folded, in evaluation mode.

    Args:
        network: left untouched.
        mask: of it.
        inputs: a few examples; without, some that the network takes are looked for.

    Returns:
        The network, which takes the full-size network's inputs, and the input features that it reads (None: all).

    Raises:
        ValueError: a network that cannot be called with the inputs, or a mask of another network.

    Examples:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> mask = Mask.dense(network)
        >>> mask.tensors["0.weight"][1:] = False
        >>> small, inputs = compacted(network, mask)
        >>> small
        _Gathering(
          (network): Sequential(
            (0): Linear(in_features=3, out_features=1, bias=True)
            (1): ReLU()
            (2): Linear(in_features=1, out_features=2, bias=True)
          )
        )
    """
    small = compact(inside(network), mask, inputs, constants="fold")
    taking = small.network if small.inputs is None else _Gathering(small.network, small.inputs, small.flattens)
    return taking.eval(), small.inputs


class _Gathering(nn.Module):
    """A small network behind the choice of the input features that it reads."""

    def __init__(self, network: nn.Module, inputs: Tensor, flattens: bool) -> None:
        super().__init__()
        self.network, self.flattens = network, flattens
        self.register_buffer("inputs", inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1) if self.flattens else inputs
        out: Tensor = self.network(flat.index_select(-1, self.get_buffer("inputs")))
        return out


def write_safetensors(network: nn.Module, mask: Mask, example: Inputs, path: Path, about: About = _NOTHING) -> None:
    """The network's plain state, pruned weights zero; `safetensors.torch.load_file` reads it.

    Its metadata hold `about`.

    Examples:
        >>> from safetensors.torch import load_file
        >>> network, mask = nn.Linear(2, 1, bias=False), Mask({"weight": torch.tensor([[True, False]])})
        >>> write_safetensors(network, mask, torch.zeros(1, 2), Path("network.safetensors"))
        >>> load_file("network.safetensors")["weight"] != 0
        tensor([[ True, False]])
    """
    write_tensors(path, _masked(network, mask), _texts(about))


def write_pt(network: nn.Module, mask: Mask, example: Inputs, path: Path, about: About = _NOTHING) -> None:
    """The network's plain state, pruned weights zero; `torch.load(path, weights_only=True)` reads it.

    Examples:
        >>> network, mask = nn.Linear(2, 1, bias=False), Mask({"weight": torch.tensor([[True, False]])})
        >>> write_pt(network, mask, torch.zeros(1, 2), Path("network.pt"))
        >>> torch.load("network.pt", weights_only=True)["weight"] != 0
        tensor([[ True, False]])
    """
    _save({name: tensor.detach().cpu().clone() for name, tensor in _masked(network, mask).items()}, path)


def write_torch_prune(network: nn.Module, mask: Mask, example: Inputs, path: Path, about: About = _NOTHING) -> None:
    """The state under torch's pruning: `weight_orig`, `weight_mask`; `torch.load(path, weights_only=True)` reads it.

    Examples:
        >>> network, mask = nn.Linear(2, 1, bias=False), Mask({"weight": torch.tensor([[True, False]])})
        >>> write_torch_prune(network, mask, torch.zeros(1, 2), Path("pruned.pt"))
        >>> torch.load("pruned.pt", weights_only=True)["weight_mask"]
        tensor([[1., 0.]])
    """
    _save(to_torch_prune(network, mask).cpu().state_dict(), path)


def write_program(network: nn.Module, mask: Mask, example: Inputs, path: Path, about: About = _NOTHING) -> Shrunk:
    """The compacted network as a program of any batch size; `torch.export.load` reads it.

    Its extra file `about.json` holds `about`.

    Raises:
        ValueError: inputs by name, or torch makes no program of the network; says what to do.

    Examples:
        >>> network, mask = nn.Linear(2, 1), Mask({"weight": torch.tensor([[True, False]])})
        >>> write_program(network, mask, torch.zeros(1, 2), Path("network.pt2"))
        Shrunk(parameters=2, before=3)
        >>> torch.export.load("network.pt2").module()(torch.ones(5, 2)).shape
        torch.Size([5, 1])
    """
    program, shrunk = _program(network, mask, example)
    with written_beside(path) as beside, _quiet():
        torch.export.save(program, beside, extra_files={_EXTRA: json.dumps(dict(about))})
    return shrunk


def write_onnx(network: nn.Module, mask: Mask, example: Inputs, path: Path, about: About = _NOTHING) -> Shrunk:
    """The compacted network as ONNX, of any batch size; ONNX Runtime and many others read it.

    Its input is called `inputs`, its output `outputs`, their first axis `batch`. Its metadata hold `about`, as JSON.

    Raises:
        ValueError: as of `write_program`, or the packages for ONNX are not installed; says what to do.

    Examples:
        >>> network, mask = nn.Linear(2, 1), Mask({"weight": torch.tensor([[True, False]])})
        >>> write_onnx(network, mask, torch.zeros(1, 2), Path("network.onnx"))  # doctest: +SKIP
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError("ONNX needs packages of its own: pip install 'scratchcard[onnx]'") from error
    program, shrunk = _program(network, mask, example)
    with _quiet():
        names: dict[str, Any] = {"input_names": ["inputs"], "output_names": ["outputs"]}
        made = torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
    if made is None:
        raise ValueError("torch.onnx made no program of this network")
    _name_batch(made.model.graph)
    made.model.metadata_props.update(_texts(about))
    with written_beside(path) as beside:
        made.save(str(beside))
    return shrunk


def _name_batch(graph: Any) -> None:
    """Call the first axis `batch`, wherever torch's name of it stands."""
    (symbol,) = {dim.value for each in graph.inputs for dim in each.shape if not isinstance(dim, int)}
    for value in (*graph.inputs, *(out for node in graph.all_nodes() for out in node.outputs)):
        for axis, dim in enumerate(value.shape or ()):
            if not isinstance(dim, int) and dim.value is not None:
                value.shape[axis] = re.sub(rf"\b{symbol}\b", "batch", dim.value)


class Format(NamedTuple):
    """What a ticket is exported as.

    Attributes:
        ending: the usual one of its files.
        write: from the network, the mask, an example batch, a path, and what the file shall say beside the network; how
            much compaction removed, where it is done. Plain states need no example; `pt` and `torch-prune` are weights
            alone.

    Examples:
        >>> FORMATS["onnx"].ending
        '.onnx'
    """

    ending: str
    write: Callable[[nn.Module, Mask, Inputs, Path, About], Shrunk | None]


FORMATS = {
    "safetensors": Format(".safetensors", write_safetensors),
    "pt": Format(".pt", write_pt),
    "torch-prune": Format(".prune.pt", write_torch_prune),
    "torch-export": Format(".pt2", write_program),
    "onnx": Format(".onnx", write_onnx),
}
"""Formats by name."""


def _masked(network: nn.Module, mask: Mask) -> Mapping[str, Tensor]:
    network = copied_module(inside(network))
    mask.apply_to(network)
    state: Mapping[str, Tensor] = network.state_dict()
    return state


def _texts(about: About) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}


def _save(state: Mapping[str, Tensor], path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    with written_beside(path) as beside:
        beside.write_bytes(buffer.getvalue())


def _program(network: nn.Module, mask: Mask, example: Inputs) -> tuple[torch.export.ExportedProgram, Shrunk]:
    if isinstance(example, Mapping):
        raise ValueError(
            f"the network takes inputs by name ({', '.join(example)}), which torch-export and onnx cannot; export its "
            "state instead: safetensors, pt or torch-prune"
        )
    small = compacted(network, mask, example)[0].cpu()
    batch = torch.export.Dim("batch", min=1)
    # Two examples: torch.export takes a batch of one for a constant.
    inputs = example[:1].cpu().repeat(2, *[1] * (example.ndim - 1))
    try:
        with _quiet():
            made = torch.export.export(small, (inputs,), dynamic_shapes=({0: batch},))
    except Exception as error:  # foreign code can raise anything
        raise ValueError(
            f"torch.export makes no program of {type(network).__name__} ({said(error)}); export its state instead: "
            "safetensors, pt or torch-prune"
        ) from error
    return made, Shrunk.of(small, network)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporters say to their own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
