"""A CUDA device where there is none: its tensors lie on the CPU, but refuse to meet the CPU's, or NumPy, as CUDA's do.

    with pretended_cuda():
        torch.ones(3, device="cuda") + torch.ones(3)   # RuntimeError, as on a GPU

Finds tensors, indices and generators on the wrong device. It does not find what only a GPU's own kernels do: other
rounding, what they lack, memory that runs out, work that has not ended when a clock is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)
STAND_IN = torch.device("meta")
"""What torch's own code is told: it has no rules of its own for `meta`, and starts nothing for it."""
CPU = torch.device("cpu")
_aten = torch.ops.aten
INDEXED = (_aten.index.Tensor, _aten._unsafe_index.Tensor, _aten.index_put_.default, _aten.index_put.default)
"""A CUDA tensor may be indexed by places that lie on the CPU."""
MIXES = (_aten._to_copy.default, _aten.copy_.default, *INDEXED)
_HEALTH = "_accelerator_graph_capture_health_check"
ANSWERS = (_aten._local_scalar_dense.default, _aten.equal.default)
"""Their result is a Python number."""


class OnCuda(Tensor):
    """A tensor that says it is on `cuda:0`; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> OnCuda:
        return Tensor._make_wrapper_subclass(  # type: ignore[no-any-return,attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            requires_grad=requires_grad,
            dispatch_device=True,
        )

    def __init__(self, held: Tensor, requires_grad: bool = False) -> None:
        self.held = held

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnCuda({self.held})"

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> OnCuda:
        return OnCuda(inner["held"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]


class CudaGenerator(torch.Generator):
    """A generator that says it is on `cuda:0`."""

    device = property(lambda self: CUDA)  # type: ignore[assignment]


class _OfGenerators(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _GENERATOR)


class _Generator(metaclass=_OfGenerators):
    """In place of `torch.Generator`, which would start CUDA."""

    def __new__(cls, device: Any = CPU) -> Any:
        return CudaGenerator() if _asks(device) else _GENERATOR(device)


_GENERATOR = torch.Generator


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation of torch on the numbers that are held; the result is on CUDA if the arguments, or `device`, are."""
    if func is torch.ops.prim.device.default:
        return STAND_IN
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    there = any(isinstance(tensor, OnCuda) for tensor in given)
    if there:
        _check(func, args, given)
    device, onto = kwargs.get("device"), there
    if func in ANSWERS:
        onto = False
    elif device is not None:
        onto = torch.device(device).type in ("cuda", "meta")
        kwargs = kwargs | {"device": CPU}
    elif func is _aten.copy_.default:
        onto = isinstance(args[0], OnCuda)
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if not onto:
        return found
    found = tree_map(lambda leaf: OnCuda(leaf) if isinstance(leaf, Tensor) and _strided(leaf) else leaf, found)
    return return_and_correct_aliasing(func, args, kwargs, found)


def _check(func: Any, args: tuple[Any, ...], given: list[Tensor]) -> None:
    """Refuse an operation on tensors of two devices, as torch does; a CPU tensor without dimensions is a number."""
    strange = [t for t in given if not isinstance(t, OnCuda) and t.dim() and _strided(t)]
    if func in INDEXED:
        values = args[2] if len(args) > 2 else None
        strange = [tensor for tensor in strange if tensor is args[0] or tensor is values]
    elif func in MIXES:
        return
    if strange:
        shapes = [(type(tensor).__name__, tuple(tensor.shape)) for tensor in given]
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, got {shapes}")


def _strided(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided  # sparse ones are left as they are


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, OnCuda) else leaf


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _asks(value: Any) -> bool:
    return str(value).partition(":")[0] == "cuda" if isinstance(value, str | torch.device) else False


class _Function(TorchFunctionMode):
    """Before torch would start CUDA: asks for the stand-in instead, and refuses what CUDA tensors refuse."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        generator = kwargs.get("generator")
        there = _asks(kwargs.get("device")) or any(isinstance(value, OnCuda) for value in args[:1])
        if generator is not None and there != isinstance(generator, CudaGenerator):
            raise RuntimeError(f"Expected a {'cuda' if there else 'cpu'} device type for generator")
        if func is Tensor.tolist and isinstance(args[0], OnCuda):
            return args[0].held.tolist()
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], OnCuda):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
        if func is torch.tensor and _asks(kwargs.get("device")):
            kwargs.pop("device")
            return func(*args, **kwargs).to(STAND_IN)
        if _asks(kwargs.get("device")):
            kwargs["device"] = STAND_IN
        if func is Tensor.to:
            args = tuple(STAND_IN if _asks(value) else value for value in args)
        return func(*args, **kwargs)


def _no_grad(mode: bool = True) -> contextlib.AbstractContextManager[None]:
    return torch.no_grad() if mode else contextlib.nullcontext()


@contextlib.contextmanager
def pretended_cuda(devices: int = 1) -> Iterator[None]:
    """Within it `torch.cuda` says that there are so many devices, and tensors can be put on the first."""
    generator = CudaGenerator()
    told: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: devices,
        "current_device": lambda: 0,
        "synchronize": lambda *_: None,
        "empty_cache": lambda: None,
        "get_device_name": lambda *_: "pretended",
        "mem_get_info": lambda *_: (2**30, 2**31),
        "memory_reserved": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
        "get_rng_state": lambda *_: generator.get_state(),
        "set_rng_state": lambda state, *_: generator.set_state(state),
        "manual_seed": generator.manual_seed,
        "default_generators": (generator,),
        "device": lambda *_: contextlib.nullcontext(),
        "_lazy_init": lambda: None,
    }
    with contextlib.ExitStack() as stack:
        for name, value in told.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(mock.patch.object(torch.optim.Optimizer, _HEALTH, return_value=None, create=True))
        stack.enter_context(mock.patch.object(torch, "inference_mode", _no_grad))  # it takes no tensors like these
        stack.enter_context(_Function())
        stack.enter_context(_Dispatch())
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # a parameter that is moved stays the same object
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, before)
        yield
