"""Which rule each operation of a network follows for its units.

Operations are known by their names, which `torch.relu`, `Tensor.relu`, `F.relu` and `nn.ReLU` share. What is not in
the table keeps all units that it reads.
"""

from __future__ import annotations

from scratchcard.pruning.linear_operations import OPERATIONS
from scratchcard.pruning.linear_rules import asked as no_reading
from scratchcard.pruning.unit_joins import arithmetic, concatenate, prelu
from scratchcard.pruning.unit_layer_rules import batch_norm, convolution, embedding, linear
from scratchcard.pruning.unit_moves import PASSING, elementwise, move, pad, pool, reduction, resize
from scratchcard.pruning.unit_trace import Rule, asked


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **{name: asked for name, rule in OPERATIONS.items() if rule is no_reading},
    **dict.fromkeys(PASSING, elementwise),
    **_table(
        elementwise,
        "relu relu6 gelu silu mish sigmoid special_expit tanh hardtanh hardswish hardsigmoid leaky_relu elu celu selu "
        "softplus softsign logsigmoid log_sigmoid tanhshrink hardshrink softshrink threshold exp sqrt square abs neg "
        "__neg__ clamp clamp_min clamp_max clip pow __pow__ sin cos erf",
    ),
    **_table(
        move,
        "reshape view flatten unflatten permute transpose swapaxes movedim moveaxis t .T .mT squeeze unsqueeze expand "
        "expand_as narrow select chunk split split_with_sizes tensor_split unbind roll flip repeat repeat_interleave "
        "index_select __getitem__",
    ),
    "pad": pad,
    **{
        f"{kind}{places}d": pool(places)
        for kind in ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool")
        for places in (1, 2, 3)
    },
    "interpolate": resize,
    **_table(reduction, "mean sum amax amin"),
    **_table(arithmetic("add"), "add __add__ __radd__ __iadd__"),
    **_table(arithmetic("sub"), "sub subtract __sub__ __isub__"),
    **_table(arithmetic("mul"), "mul multiply __mul__ __rmul__ __imul__"),
    **_table(arithmetic("other"), "div divide true_divide __truediv__ __itruediv__ maximum minimum"),
    **_table(concatenate, "cat concat concatenate"),
    "prelu": prelu,
    "linear": linear,
    **{f"conv{places}d": convolution(places) for places in (1, 2, 3)},
    **{f"conv_transpose{places}d": convolution(places, transposed=True) for places in (1, 2, 3)},
    **_table(batch_norm, "batch_norm instance_norm"),
    **_table(embedding, "embedding"),
}
"""By the operation's name, without the underscore of its in-place form."""
