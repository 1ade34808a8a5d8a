"""Which rule each operation of a network follows in the linear image.

Operations are known by their names, which `torch.relu`, `Tensor.relu`, `F.relu` and `nn.ReLU` share.
"""

from __future__ import annotations

import torch

from scratchcard.pruning.linear_arithmetic import (
    add,
    cosine_similarity,
    div,
    einsum,
    glu,
    lerp,
    maximum,
    mul,
    multilinear,
    plus_product,
    power,
    reciprocal,
    reversed_div,
    reversed_matmul,
    reversed_power,
)
from scratchcard.pruning.linear_layers import bilinear, convolution, embedding, embedding_bag, linear_layer
from scratchcard.pruning.linear_reductions import largest, max_pool, root_of_sum, spread
from scratchcard.pruning.linear_rules import (
    asked,
    cat,
    fresh,
    getitem,
    interpolate,
    linear,
    masked_fill,
    moved,
    pad,
    passing,
    reshape,
    setitem,
    unchanged,
    view,
    where,
)
from scratchcard.pruning.linear_sequences import (
    attention,
    gru_step,
    lstm_step,
    multi_head_attention,
    recurrent,
    recurrent_cell,
    rnn_step,
)
from scratchcard.pruning.signals import Rule


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


OPERATIONS: dict[str, Rule] = {
    **_table(
        passing,
        "relu relu6 gelu silu mish sigmoid special_expit tanh hardtanh hardswish hardsigmoid leaky_relu elu celu selu "
        "prelu rrelu softplus softsign logsigmoid log_sigmoid tanhshrink hardshrink softshrink threshold softmax "
        "log_softmax softmin gumbel_softmax special_softmax special_log_softmax exp expm1 log log1p log2 log10 sqrt "
        "square abs absolute neg negative __neg__ __abs__ positive __pos__ sin cos sinh cosh atan asinh erf erfc "
        "sinc clamp clamp_min clamp_max clip nan_to_num logit dropout dropout1d dropout2d dropout3d alpha_dropout "
        "feature_dropout feature_alpha_dropout batch_norm layer_norm group_norm instance_norm rms_norm "
        "local_response_norm normalize contiguous clone detach .data .real",
    ),
    **_table(
        view,
        "reshape flatten unflatten ravel permute transpose swapaxes swapdims movedim moveaxis t adjoint "
        ".T .mT .H .mH squeeze unsqueeze expand expand_as view_as reshape_as broadcast_to narrow select chunk split "
        "split_with_sizes tensor_split hsplit vsplit unsafe_chunk unsafe_split unbind diagonal",
    ),
    **_table(
        linear,
        "sum nansum mean nanmean cumsum repeat repeat_interleave tile roll flip fliplr flipud rot90 tril triu "
        "index_select gather take_along_dim take unfold fold im2col col2im diag diag_embed trace "
        "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
        "pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle",
    ),
    **_table(root_of_sum, "logsumexp special_logsumexp norm linalg_norm linalg_vector_norm"),
    **_table(spread, "std var std_mean var_mean"),
    **_table(largest, "max amax"),
    **_table(maximum, "maximum fmax"),
    **_table(
        max_pool,
        "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
        "max_pool2d_with_indices",
    ),
    **_table(add, "add sub subtract __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ rsub"),
    **_table(mul, "mul multiply __mul__ __rmul__ __imul__"),
    **_table(div, "div divide true_divide __div__ __truediv__ __itruediv__ __idiv__"),
    **_table(reversed_div, "__rdiv__ __rtruediv__"),
    **_table(reciprocal, "reciprocal rsqrt"),
    **_table(power, "pow float_power __pow__ __ipow__"),
    **_table(reversed_power, "__rpow__"),
    **_table(multilinear, "matmul __matmul__ mm bmm mv dot vdot inner outer ger kron tensordot linalg_matmul"),
    **_table(reversed_matmul, "__rmatmul__"),
    **_table(plus_product(torch.matmul), "addmm baddbmm addmv"),
    **_table(plus_product(lambda a, b: torch.bmm(a, b).sum(0)), "addbmm"),
    **_table(plus_product(torch.mul), "addcmul"),
    **_table(moved, "to type type_as float double half bfloat16 cuda cpu"),
    **_table(
        fresh,
        "zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty new_full "
        "new_tensor",
    ),
    **_table(
        asked,
        "size dim ndimension numel nelement element_size stride storage_offset is_contiguous is_floating_point "
        "is_complex get_device __len__ __hash__ is_same_size .shape .ndim .dtype .device .layout .requires_grad "
        ".is_cuda .is_cpu .is_mps .is_xpu .is_meta .is_nested .is_sparse .is_mkldnn .is_quantized .is_leaf .grad_fn "
        ".grad .names .nbytes .itemsize",
    ),
    **_table(unchanged, "requires_grad retain_grad"),
    "view": reshape,
    "__getitem__": getitem,
    "__setitem__": setitem,
    **_table(cat, "cat concat concatenate stack hstack vstack dstack column_stack row_stack"),
    "where": where,
    "masked_fill": masked_fill,
    "interpolate": interpolate,
    "upsample": interpolate,
    "pad": pad,
    "einsum": einsum,
    "lerp": lerp,
    "glu": glu,
    "cosine_similarity": cosine_similarity,
    "linear": linear_layer,
    **_table(convolution, "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d"),
    "bilinear": bilinear,
    "embedding": embedding,
    "embedding_bag": embedding_bag,
    "scaled_dot_product_attention": attention,
    "multi_head_attention_forward": multi_head_attention,
    "lstm": recurrent(lstm_step, 2),
    "gru": recurrent(gru_step, 1),
    **_table(recurrent(rnn_step, 1), "rnn_tanh rnn_relu"),
    "lstm_cell": recurrent_cell(lstm_step, 2),
    "gru_cell": recurrent_cell(gru_step, 1),
    **_table(recurrent_cell(rnn_step, 1), "rnn_tanh_cell rnn_relu_cell"),
}
"""By the operation's name, without the underscore of its in-place form; attributes begin with a dot."""
