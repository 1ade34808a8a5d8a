"""The linear image against explicit path counts: every path of a small network is listed, edge by edge."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchcard.pruning.compaction import compact
from scratchcard.pruning.connectivity import effective_mask
from scratchcard.pruning.linear_image import LinearImage
from scratchcard.pruning.mask import Mask
from scratchcard.pruning.parameters import prunable
from scratchcard.scorers import SynFlow, SynFlowL2Data
from tests.scorers.toys import filled, random_mask

Node = tuple[object, ...]
Weight = tuple[object, ...]  # name, then its place


class Graph:
    """Edges from node to node, each with the weights on it; inputs are named `x`, outputs `out`."""

    def __init__(self) -> None:
        self.edges: dict[Node, list[tuple[Node, Weight | None]]] = defaultdict(list)

    def add(self, start: Node, end: Node, weight: Weight | None = None) -> None:
        self.edges[start].append((end, weight))

    def matrix(self, starts: list[Node], ends: list[Node], name: str) -> None:
        """A linear layer `(out, in)`."""
        for (i, start), (o, end) in product(enumerate(starts), enumerate(ends)):
            self.add(start, end, (name, o, i))

    def paths(self, node: Node) -> Iterator[list[Weight]]:
        if node[0] == "out":
            yield []
        for end, weight in self.edges[node]:
            for rest in self.paths(end):
                yield rest if weight is None else [weight, *rest]

    def scores(self, network: nn.Module, inputs: Iterable[Node], power: int = 1) -> dict[str, Tensor]:
        """Each weight's share of the sum over all paths of the product of the absolute weights on them."""
        size = {name: w.detach().abs() ** power for name, w in prunable(network).items()}
        found = {name: torch.zeros_like(w) for name, w in size.items()}
        for start in inputs:
            for path in self.paths(start):
                value = math.prod(float(size[str(name)][tuple(place)]) for name, *place in path)
                for name, *place in path:
                    found[str(name)][tuple(place)] += value
        return found


def batch(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, *shape, generator=generator, dtype=torch.float64), torch.arange(4) % 2


def check(network: nn.Module, graph: Graph, shape: tuple[int, ...]) -> None:
    """SynFlow's scores are the shares of all paths; connectivity finds the weights on a path, under masks too."""
    inputs = [("x", *place) for place in product(*map(range, shape))]
    data = batch(*shape)
    found = SynFlow()(network, data, F.cross_entropy).tensors
    for name, expected in graph.scores(network, inputs).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=0)
    for seed in range(4):
        mask = random_mask(network, seed, 0.7)
        masked = filled(network)
        mask.apply_to(masked)
        expected = Mask({name: score > 0 for name, score in graph.scores(masked, inputs).items()})
        if expected.kept:
            assert effective_mask(filled(network), mask, shape) == expected
        filled(network)


class Gate(nn.Module):
    """`U (h * sigmoid(V h))` with `h = W x`, the gate written in one of the ways in which people write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.w, self.v, self.u = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.layer = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        h = self.w(x)
        gate = {
            "module": lambda: self.layer(self.v(h)),
            "function": lambda: torch.sigmoid(self.v(h)),
            "method": lambda: self.v(h).sigmoid_(),
            "hard": lambda: F.hardsigmoid(self.v(h), inplace=True),
        }[self.way]()
        return self.u(torch.einsum("ni,ni->ni", h, gate) if self.way == "hard" else gate.mul_(h))


@pytest.mark.parametrize("way", ["module", "function", "method", "hard"])
def test_a_gate_is_on_the_paths_of_both_its_factors(way: str) -> None:
    graph = Graph()
    x, h, g, y, out = (
        [(kind, k) for k in range(n)] for kind, n in (("x", 2), ("h", 3), ("g", 3), ("y", 3), ("out", 2))
    )
    graph.matrix(x, h, "w.weight")
    graph.matrix(h, g, "v.weight")
    graph.matrix(y, out, "u.weight")
    for k in range(3):
        graph.add(h[k], y[k])
        graph.add(g[k], y[k])
    check(filled(Gate(way).double()), graph, (2,))


class Head(nn.Module):
    """One head of attention over tokens `(n, length, 2)`; the last position is read out."""

    def __init__(self, causal: bool, fused: bool) -> None:
        super().__init__()
        self.causal, self.fused = causal, fused
        self.q, self.k, self.v, self.out = (nn.Linear(2, 2) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-1, -2) / math.sqrt(2)
            if self.causal:
                held = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
                scores = scores.masked_fill(~held, float("-inf"))
            mixed = scores.softmax(-1) @ v
        return self.out(mixed[:, 0])


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_leads_through_queries_keys_and_values(causal: bool, fused: bool) -> None:
    graph, length = Graph(), 3
    for t in range(length):
        x = [("x", t, i) for i in range(2)]
        for kind in "qkv":
            graph.matrix(x, [(kind, t, c) for c in range(2)], f"{kind}.weight")
    places = range(1) if causal else range(length)  # what the first position attends to
    for u, c in product(places, range(2)):
        graph.add(("q", 0, c), ("s", u))  # s_u = sum_c q_0c k_uc
        graph.add(("k", u, c), ("s", u))
        graph.add(("s", u), ("mixed", c))  # mixed_c = sum_u s_u v_uc
        graph.add(("v", u, c), ("mixed", c))
    graph.matrix([("mixed", c) for c in range(2)], [("out", c) for c in range(2)], "out.weight")
    check(filled(Head(causal, fused).double()), graph, (length, 2))


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.pair = nn.Linear(2, 2), nn.Linear(2, 3), nn.Bilinear(2, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(self.left(x).tanh(), self.right(x))


def test_a_bilinear_weight_is_on_paths_from_either_input() -> None:
    graph = Graph()
    x, left, right = [("x", i) for i in range(2)], [("l", i) for i in range(2)], [("r", j) for j in range(3)]
    graph.matrix(x, left, "left.weight")
    graph.matrix(x, right, "right.weight")
    for o, i, j in product(range(2), range(2), range(3)):
        graph.add(left[i], ("out", o), ("pair.weight", o, i, j))
        graph.add(right[j], ("out", o), ("pair.weight", o, i, j))
    check(filled(Pairs().double()), graph, (2,))


class Recurrent(nn.Module):
    def __init__(self, kind: str, cell: bool = False) -> None:
        super().__init__()
        self.cell = cell
        name = f"{kind}Cell" if cell else kind
        self.layer = getattr(nn, name)(2, 2, **({} if cell else {"batch_first": True}))
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        if not self.cell:
            return self.head(self.layer(x)[0][:, -1])
        state = None
        for t in range(x.shape[1]):
            state = self.layer(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


def recurrent_graph(kind: str, length: int, suffix: str) -> Graph:
    gates = {"RNN": "h", "LSTM": "ifgo", "GRU": "rzn"}[kind]
    graph = Graph()
    for t in range(length):
        for (g, gate), o, i in product(enumerate(gates), range(2), range(2)):
            own = (gate, t, o)
            graph.add(("x", t, i), own, (f"layer.weight_ih{suffix}", 2 * g + o, i))
            if t:
                inner = ("own", t, o) if gate == "n" else own  # r * (U h) stands within the candidate of a GRU
                graph.add(("h", t - 1, i), inner, (f"layer.weight_hh{suffix}", 2 * g + o, i))
        for o in range(2):
            edges = {"RNN": [], "GRU": ["rn", "zh", "nh"] + ["zh", "hh"] * bool(t)}.get(kind)
            if kind == "LSTM":  # c' = f c + i g, h' = o c'
                edges = ["ic", "gc", "oh", "ch"] + ["fc", "cc"] * bool(t)
            for start, end in edges or []:
                graph.add((start, t - (start == end), o), (end, t, o))
            if kind == "GRU" and t:
                graph.add(("own", t, o), ("n", t, o))
    graph.matrix([("h", length - 1, o) for o in range(2)], [("out", o) for o in range(2)], "head.weight")
    return graph


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrence_is_unrolled_and_its_gates_are_products(kind: str, cell: bool) -> None:
    network = filled(Recurrent(kind, cell).double()) if kind != "RNN" or not cell else filled(Recurrent("RNN").double())
    suffix = "" if any(name.endswith("weight_ih") for name in prunable(network)) else "_l0"
    check(network, recurrent_graph(kind, 3, suffix), (3, 2))


def test_the_first_gates_of_a_recurrent_layer_have_no_path_through_a_state_of_zeros() -> None:
    network = filled(Recurrent("LSTM").double())
    found = effective_mask(network, Mask.dense(network), (1, 2))
    assert not found.tensors["layer.weight_hh_l0"].any()
    assert found.tensors["layer.weight_ih_l0"][:, 0].tolist() == [True] * 2 + [False] * 2 + [True] * 4


class Wide(nn.Module):
    """Attention by torch's layer; the same projections by hand."""

    def __init__(self, by_hand: bool, masked: bool) -> None:
        super().__init__()
        self.attention, self.by_hand, self.masked = nn.MultiheadAttention(4, 2, batch_first=True), by_hand, masked

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((3, 3), float("-inf")).triu(1) if self.masked else None
        if not self.by_hand:
            return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0][:, 1]
        own = self.attention
        q, k, v = F.linear(x, own.in_proj_weight, own.in_proj_bias).chunk(3, -1)
        heads = [t.unflatten(-1, (2, 2)).transpose(1, 2) for t in (q, k, v)]
        mixed = F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)
        return F.linear(mixed, own.out_proj.weight)[:, 1]


@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_is_attention_by_heads(masked: bool) -> None:
    layer, hand = (filled(Wide(by_hand, masked).double()) for by_hand in (False, True))
    for scorer in (SynFlow(), SynFlowL2Data()):
        found, expected = (scorer(n, batch(3, 4), F.cross_entropy).flat() for n in (layer, hand))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
        assert bool((found > 0).all())


class Writing(nn.Module):
    """Builds its output in place: position by position in a tensor of zeros, or stacked."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.layer, self.head, self.in_place = nn.Linear(2, 2), nn.Linear(2, 2), in_place

    def forward(self, x: Tensor) -> Tensor:
        if not self.in_place:
            return self.head(torch.stack([self.layer(x[:, 0]), self.layer(x[:, 1]) + x[:, 1]], 1)).sum(1)
        out = torch.zeros(len(x), 2, 2, dtype=x.dtype)
        for t in range(2):
            out[:, t] = self.layer(x[:, t])
        out[:, 1] += x[:, 1]
        return self.head(out).sum(1)


def test_writing_in_place_is_followed() -> None:
    found, expected = (
        SynFlow()(filled(Writing(way).double()), batch(2, 2), F.cross_entropy).flat() for way in (True, False)
    )
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)


class Stale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        view = x.view(-1, 2, 2)
        view.add_(self.layer(x).view(-1, 2, 2))
        return x


def test_trap_a_view_that_is_written_to_is_refused() -> None:
    with pytest.raises(ValueError, match="used after one of its views was changed in place"):
        SynFlow()(Stale().double(), batch(4), F.cross_entropy)


class Valued(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return x if bool(x.sum() > 0) else -x


def test_trap_a_network_that_looks_at_its_activations_is_refused() -> None:
    with pytest.raises(ValueError, match="no rule for 'gt'"):
        SynFlow()(Valued().double(), batch(4), F.cross_entropy)


def test_a_network_may_keep_its_activations() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head, self.seen = nn.Linear(4, 4), nn.Linear(4, 2), {}

        def forward(self, x: Tensor) -> Tensor:
            self.seen["hidden"] = [torch.relu(self.layer(x))]
            return self.head(self.seen["hidden"][0])

    network = filled(Keeping().double())
    expected = SynFlow()(network, batch(4), F.cross_entropy).flat()
    network(batch(4)[0])  # what it keeps has a graph now, that Python cannot copy
    assert SynFlow()(network, batch(4), F.cross_entropy).flat().equal(expected)
    small = compact(network, Mask.dense(network), batch(4)[0]).network
    assert torch.equal(small(batch(4)[0]), network(batch(4)[0]))
    assert network.seen["hidden"][0].requires_grad


def test_what_cannot_be_copied_or_fails_is_refused_in_a_sentence() -> None:
    class Failing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("x")

    with pytest.raises(ValueError, match="called with signals in place of tensors, it raised KeyError"):
        SynFlow()(Failing(4, 2), batch(4), F.cross_entropy)
    network = nn.Linear(4, 2)
    network.numbers = (number for number in range(2))
    with pytest.raises(ValueError, match="Linear cannot be copied, which its linear image needs: TypeError"):
        SynFlow()(network, batch(4), F.cross_entropy)


def test_masks_and_zeros_shut_and_what_is_trained_does_not() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.gain = nn.Linear(3, 3), nn.Parameter(torch.zeros(3))
            self.register_buffer("kept", torch.tensor([1.0, 0.0, 5.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) * self.kept * self.gain.tanh() + torch.tensor([0.0, 7.0, float("-inf")])

    network = filled(Scaled().double())
    scores = SynFlow()(network, batch(3), F.cross_entropy).tensors["layer.weight"]
    assert torch.equal(scores[0], network.layer.weight.detach()[0].abs())
    assert not bool(scores[1:].any())


class Shut(nn.Module):
    """Two of three places are left of a layer; then they are viewed in some way and meet a gate, which has all."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.values, self.gates, self.head, self.way = nn.Linear(2, 4), nn.Linear(2, 4), nn.Linear(4, 1), way
        self.register_buffer("held", torch.tensor([[1.0], [0.0], [5.0]]))

    def forward(self, x: Tensor) -> Tensor:
        x, gates = self.values(x) * self.held, self.gates(x).sigmoid()
        if self.way == "transpose":
            x = (x.transpose(1, 2) * gates.transpose(1, 2)).transpose(1, 2)
        elif self.way == "view":
            x = (x.reshape(-1, 12) * gates.reshape(-1, 12)).view(-1, 3, 4)
        elif self.way == "index":
            x = torch.stack([x[:, t] * gates[:, t] for t in range(3)], 1)
        elif self.way == "None":
            x = (x[:, None] * gates[:, None])[:, 0]
        elif self.way == "split":
            x = torch.cat([a * b for a, b in zip(x.split([1, 2], 1), gates.split([1, 2], 1), strict=True)], 1)
        return self.head(x)


@pytest.mark.parametrize("way", ["transpose", "view", "index", "None", "split"])
def test_shut_places_stay_shut_in_every_view(way: str) -> None:
    network, graph = filled(Shut(way).double()), Graph()
    for t in (0, 2):
        x, h = [("x", t, i) for i in range(2)], [("h", t, c) for c in range(4)]
        graph.matrix(x, h, "values.weight")
        graph.matrix(x, h, "gates.weight")
        graph.matrix(h, [("out", t)], "head.weight")
    found = SynFlow()(network, batch(3, 2), F.cross_entropy).tensors
    for name, expected in graph.scores(network, list(product("x", range(3), range(2)))).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=0)


def test_a_choice_has_the_shape_of_all_that_takes_part() -> None:
    class Chosen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.head = nn.Linear(2, 1), nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.where(torch.tensor(True), self.one(x), torch.zeros(3)))

    network = filled(Chosen().double())
    expected = network.one.weight.detach().abs() * network.head.weight.detach().abs().sum()
    torch.testing.assert_close(SynFlow()(network, batch(2), F.cross_entropy).tensors["one.weight"], expected)


def test_cuts_are_the_layers_that_every_path_crosses_once() -> None:
    class Cuts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body, self.twice, self.head = (nn.Linear(2, 2) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(self.twice(self.twice(x + self.body(x))))

    image = LinearImage(Cuts())
    image.put({name: torch.ones_like(leaf) for name, leaf in image.leaves.items()})
    image(torch.ones(1, 2, dtype=torch.float64))
    assert image.cuts == ("stem.weight", "head.weight")


def test_trap_a_forward_that_masks_its_own_weight_scores_the_same_in_every_round() -> None:
    class Masking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.register_buffer("kept", torch.tensor([1.0, 0.0, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.layer.weight.mul_(self.kept)
            return self.layer(x)

    network = filled(Masking().double())
    data = batch(3)
    prepared = SynFlow().prepare(network, data, F.cross_entropy)
    expected = network.layer.weight.detach().abs() * network.kept
    for _ in range(3):
        assert torch.equal(prepared(network, data, F.cross_entropy).tensors["layer.weight"], expected)


class Named(nn.Module):
    """Numbers, two kinds of tokens and a mask of whole numbers, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers, self.last = nn.Linear(2, 2), nn.Linear(2, 2)
        self.words, self.kinds = nn.Embedding(3, 2), nn.Embedding(2, 2)

    def forward(self, *, x: Tensor, words: Tensor, kinds: Tensor, held: Tensor) -> Tensor:
        read = (self.words(words) * held[..., None]).sum(1) + self.kinds(kinds).sum(1)
        return self.last(torch.relu(self.numbers(x) + read))


def named_batch() -> tuple[dict[str, Tensor], Tensor]:
    inputs = {
        "x": batch(2)[0],
        "words": torch.tensor([[0, 1], [0, 1], [0, 2], [2, 2]]),
        "kinds": torch.tensor([[0, 1], [1, 0], [1, 0], [1, 1]]),  # the first example's are its words too
        "held": torch.tensor([[1, 0]] * 4),
    }
    return inputs, torch.arange(4) % 2


def test_inputs_by_name_are_signals_tokens_and_masks() -> None:
    network, graph = filled(Named().double()), Graph()
    h = [("h", c) for c in range(2)]
    graph.matrix([("x", i) for i in range(2)], h, "numbers.weight")
    graph.matrix(h, [("out", c) for c in range(2)], "last.weight")
    words = [("words", 0, entry) for entry in range(3)]  # the mask shuts the second place
    kinds = [("kinds", t, entry) for t, entry in product(range(2), range(2))]
    for (kind, _, entry), c in product(words + kinds, range(2)):
        graph.add((kind, _, entry), ("h", c), (f"{kind}.weight", entry, c))
    inputs = [("x", 0), ("x", 1), *words, *kinds]
    found = SynFlow()(network, named_batch(), F.cross_entropy).tensors
    for name, expected in graph.scores(network, inputs).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-12, atol=0)
    mask = random_mask(network, 1, 0.7)
    expected_mask = effective_mask(network, mask, named_batch()[0])
    mask.apply_to(network)
    assert expected_mask == Mask({name: score > 0 for name, score in graph.scores(network, inputs).items()})


def test_inputs_by_name_have_a_variance_each() -> None:
    network = filled(Named().double())
    inputs, targets = named_batch()
    found = SynFlowL2Data()(network, (inputs, targets), F.cross_entropy).tensors
    leaving = network.last.weight.detach().square().sum(0)

    def varied(name: str, entries: int) -> Tensor:
        share = F.one_hot(inputs[name], entries).double().mean(0)
        return share * (1 - share)

    for name, variance in (("words", varied("words", 3)[0]), ("kinds", varied("kinds", 2).sum(0))):
        expected = variance[:, None] * network.get_parameter(f"{name}.weight").detach().square() * leaving
        torch.testing.assert_close(found[f"{name}.weight"], expected, rtol=1e-12, atol=0)
    variance = inputs["x"].var(0, correction=0)
    expected = leaving[:, None] * network.numbers.weight.detach().square() * variance
    torch.testing.assert_close(found["numbers.weight"], expected, rtol=1e-12, atol=0)
