"""A small fully connected network on a weight's features, with a sigmoid output (torch)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from scratchcard.meta.arrays import LIMIT, WIDTH, Arrays, Forward, check_array, check_names
from scratchcard.meta.batch import Batch
from scratchcard.meta.logistic import logistic
from scratchcard.meta.predictors.family import Family, Objective, Progress
from scratchcard.meta.rows import Rows
from scratchcard.setting import setting
from scratchcard.settings import Settings
from scratchcard.workers.worker import torch_threads


@dataclass(frozen=True)
class MLP(Settings, Family):
    """low + (high - low) · σ(W₃ relu(W₂ relu(W₁ z + b₁) + b₂) + b₃) with z = (x - mean) / scale.

    Classification: cross-entropy, low = 0 and high = 1. Regression: squared error of the target scaled to
    [0, 1] by its least and largest value in the training rows. The source thesis has the same layers; its
    inputs and targets were not scaled so and its output saturated. Here the output starts at the target's
    mean, inputs are standardised, and Adam takes the steps. A feature that was constant in training has weights
    of zero: elsewhere it changes nothing, where random initial weights would make anything of it.

    Options:
        hidden: units of the one or two hidden layers.
        epochs, batch_rows, learning_rate, weight_decay: of Adam.
        balanced: kept and pruned rows weigh the same in all.
        patience: stop after so many epochs without a lower loss on the last training network, which is then
            not trained on, and go back to the best; None trains on all for `epochs`.
        device: where to train, as torch names it.

    Memory: one shuffling pool, at most 3M rows.

    Examples:
        >>> MLP(hidden=(16,)).epochs
        5
        >>> MLP.objectives
        ('classification', 'regression')
    """

    hidden: tuple[int, ...] = setting((64, 32), help="Units of the hidden layers", example=(32, 16), low=1)
    epochs: int = setting(5, help="Passes over the rows; 0 leaves it at the mean", example=10, low=0)
    batch_rows: int = setting(256, help="Rows a step", example=1024, low=1)
    learning_rate: float = setting(1e-3, help="Of Adam", example=0.01, above=0)
    weight_decay: float = setting(0.0, help="L2, decoupled", example=1e-4, low=0)
    balanced: bool = setting(False, help="Kept and pruned rows weigh the same in all", example=True)
    patience: int | None = setting(
        None, help="Epochs without a lower loss before stopping", example=3, low=1, unset="all epochs"
    )
    device: str = setting("cpu", help="Where it is trained", example="cuda")

    def fit(self, rows: Rows, objective: Objective, **how: Any) -> dict[str, np.ndarray]:
        """Arrays mean, scale (F,), weight_k (out, in), bias_k (out,), output_range (2,): low and high."""
        return self.arrays(self.train(rows, objective, **how), rows, objective)

    def train(
        self, rows: Rows, objective: Objective, *, seed: int, threads: int, progress: Progress | None = None
    ) -> Any:
        """The torch network that maps standardised features to the number before the sigmoid."""
        import torch

        if not 1 <= len(self.hidden) <= 2 or not all(1 <= units <= WIDTH for units in self.hidden):
            raise ValueError(f"expected one or two hidden layers of 1 to {WIDTH} units, got {self.hidden}")
        held, used = None, rows
        if self.patience is not None:
            if len(rows.networks) < 2:
                raise ValueError("patience needs a second training network to watch; give more train_seeds")
            used = replace(rows, networks=rows.networks[:-1])
            held = replace(rows, networks=rows.networks[-1:], max_rows=None)
        low, high = _range(rows, objective)
        mean, scale = rows.moments
        # On the rows that are trained on: what varies in the watched network only was not learned either.
        constant = used.constant
        centre = 0.5 if self.balanced else np.clip((rows.summary.mean - low) / (high - low), 1e-6, 1 - 1e-6)
        with torch_threads(threads):
            network = _network(self.hidden, len(rows.features), float(np.log(centre / (1 - centre))), seed)
            with torch.no_grad():
                network[0].weight[:, torch.from_numpy(constant)] = 0.0
            network.to(self.device)
            optimizer = torch.optim.Adam(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)

            def loss(batch: Batch) -> torch.Tensor:
                standard = ((batch.x - mean) / scale).astype(np.float32)
                standard[:, constant] = 0.0  # exactly, so that their weights stay at zero
                z = torch.from_numpy(standard).to(self.device)
                y = torch.from_numpy(((batch.y - low) / (high - low)).astype(np.float32)).to(self.device)
                raw = network(z)[:, 0]
                if objective == "classification":
                    each = torch.nn.functional.binary_cross_entropy_with_logits(raw, y, reduction="none")
                else:
                    each = (torch.sigmoid(raw) - y) ** 2
                weight = rows.weights(batch, self.balanced)
                if weight is not None:
                    each = each * torch.from_numpy(weight.astype(np.float32)).to(self.device)
                return each.mean()

            generator = np.random.default_rng(seed)
            best, best_state, waited, done = np.inf, None, 0, 0
            for _ in range(self.epochs):
                for batch in used.shuffled(self.batch_rows, generator):
                    optimizer.zero_grad(set_to_none=True)
                    loss(batch).backward()  # type: ignore[no-untyped-call,unused-ignore]
                    optimizer.step()
                    done += len(batch.y)
                    if progress is not None:
                        progress(done, self.epochs * used.count)
                if held is None:
                    continue
                with torch.no_grad():
                    total = sum(float(loss(batch)) * len(batch.y) for batch in held.batches())
                waited += 1
                if total < best:
                    best, waited = total, 0
                    best_state = {name: value.clone() for name, value in network.state_dict().items()}
                if self.patience is not None and waited >= self.patience:
                    break
            if best_state is not None:
                network.load_state_dict(best_state)
        return network

    def arrays(self, network: Any, rows: Rows, objective: Objective) -> dict[str, np.ndarray]:
        """The plain arrays of a trained network."""
        mean, scale = rows.moments
        arrays = {"mean": mean, "scale": scale, "output_range": np.array(_range(rows, objective))}
        layers = [layer for layer in network if hasattr(layer, "weight")]
        for number, layer in enumerate(layers, start=1):
            arrays[f"weight_{number}"] = layer.weight.detach().cpu().double().numpy()
            arrays[f"bias_{number}"] = layer.bias.detach().cpu().double().numpy()
        return arrays

    @staticmethod
    def forward(arrays: Arrays, objective: Objective, features: int) -> Forward:
        """The formula above in float64."""
        count = 3 if "weight_3" in arrays else 2
        layer_names = [f"{kind}_{number}" for number in range(1, count + 1) for kind in ("weight", "bias")]
        check_names(arrays, ("mean", "scale", "output_range", *layer_names), "mlp")
        mean = check_array(arrays, "mean", np.float64, (features,))
        scale = check_array(arrays, "scale", np.float64, (features,))
        if not bool((scale >= 1 / LIMIT).all()):
            raise ValueError(f"array 'scale' holds a number below {1 / LIMIT:g}: expected standard deviations")
        low, high = check_array(arrays, "output_range", np.float64, (2,))
        layers, width = [], features
        for number in range(1, count + 1):
            out = 1 if number == count else None
            weight = check_array(arrays, f"weight_{number}", np.float64, (out, width))
            width = weight.shape[0]
            if not 1 <= width <= WIDTH:
                raise ValueError(f"array 'weight_{number}' has {width} units, expected 1 to {WIDTH}")
            layers.append((weight, check_array(arrays, f"bias_{number}", np.float64, (width,))))

        def forward(x: np.ndarray) -> np.ndarray:
            value = (x.astype(np.float64) - mean) / scale
            for weight, bias in layers[:-1]:
                value = np.maximum(value @ weight.T + bias, 0.0)
            weight, bias = layers[-1]
            raw = (value @ weight.T + bias)[:, 0]
            return np.asarray(low + (high - low) * logistic(raw))

        return forward


def _range(rows: Rows, objective: Objective) -> tuple[float, float]:
    if objective == "classification":
        return 0.0, 1.0
    low, high = rows.summary.minimum, rows.summary.maximum
    if low == high:
        raise ValueError(f"target {rows.target!r} is {low:g} in all training rows: nothing to learn")
    return low, high


def _network(hidden: tuple[int, ...], features: int, start: float, seed: int) -> Any:
    """Kaiming-uniform weights from the seed, zero biases but the last, which is the start's."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    widths = (features, *hidden, 1)
    layers = list[torch.nn.Module]()
    for number, (fan_in, units) in enumerate(pairwise(widths), start=1):
        layer = torch.nn.utils.skip_init(  # type: ignore[no-untyped-call,unused-ignore]
            torch.nn.Linear, fan_in, units
        )
        last = number == len(widths) - 1
        torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear" if last else "relu", generator=generator)
        torch.nn.init.constant_(layer.bias, start if last else 0.0)
        layers += [layer] if last else [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers)
