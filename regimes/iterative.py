"""Iterative regimes: train, score, prune, rewind, again. ISS with magnitude is IMP; IMS prunes in several shots."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pruning.families import lookup
from pruning.files import written_beside
from pruning.mask import Mask, Scope
from pruning.parameters import count, prunable
from pruning.schedules import SCHEDULES, check_count
from pruning.scores import Scores
from pruning.ticket import copy_state
from pruning.version import RESULTS_VERSION
from regimes.regime import Found, Progress
from regimes.upfront import prune_upfront
from scorers.scorer import Scorer
from workloads.training import train
from workloads.workload import Workload


@dataclass(frozen=True)
class Iterative:
    """Train, score the trained network, prune, rewind; `rounds` times.

    One shot a round is ISS; with the magnitude scorer that is iterative magnitude pruning (Frankle & Carbin 2019,
    arXiv 1803.03635). Several shots a round are IMS: a multi-shot sequence on the trained network, on the scorer's
    own exponential way from this round's density to the next.

    Attributes:
        rounds: number of train-prune-rewind cycles.
        shots: scoring and pruning steps after each training.
        schedule: density after each round.
        scope: compare all weights with each other or each layer's among themselves.
        rewind_step: rewind to the weights after this many training steps of the dense network (0 = initialisation;
            Frankle et al. 2020, arXiv 1912.05671).
    """

    rounds: int = 10
    shots: int = 1
    schedule: str = "exponential"
    scope: Scope = "global"
    rewind_step: int = 0

    @property
    def trains(self) -> bool:
        """Iterative regimes train the network in every round."""
        return True

    def find(
        self,
        workload: Workload,
        scorer: Scorer,
        density: float,
        seed: int,
        *,
        network: nn.Module | None = None,
        data_seed: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        directory: Path | None = None,
        progress: Progress | None = None,
    ) -> Found:
        """See `Regime.find`. With a `directory` each finished round is kept, and the next call goes on after it."""
        network = (
            workload.build(seed, dtype=dtype, device=device) if network is None else copy.deepcopy(network).to(device)
        )
        check_count(density, count(prunable(network)))
        initial = copy_state(network)
        order = seed if data_seed is None else data_seed
        batch = workload.scoring_batch(seed, dtype=dtype, device=device)
        densities = lookup(SCHEDULES, "schedules", self.schedule)(density, self.rounds)
        identity = {
            "regime": asdict(self),
            "workload": workload.describe(),
            "scorer": repr(scorer),
            "density": density,
            "seed": seed,
            "data_seed": order,
            "dtype": str(dtype),
            "initial": _digest(initial),
            "results_version": RESULTS_VERSION,
        }
        state = _State.open(directory, identity, network)
        steps = workload.recipe.max_steps
        try:
            for number in range(state.rounds_done + 1, self.rounds + 1):
                begin = time.perf_counter()
                network.load_state_dict(state.rewind or initial)
                mask = state.mask
                record = train(
                    network,
                    workload.task,
                    workload.recipe,
                    mask=mask,
                    seed=order,
                    device=device,
                    snapshot_steps=(self.rewind_step,) if number == 1 and self.rewind_step else (),
                    progress=_shifted(progress, (number - 1) * steps, self.rounds * steps),
                )
                if number == 1 and self.rewind_step:
                    if self.rewind_step not in record.snapshots:
                        raise ValueError(
                            f"cannot rewind to step {self.rewind_step}: training ended after {record.steps} steps"
                        )
                    state.rewind = {name: t.detach().cpu() for name, t in record.snapshots[self.rewind_step].items()}
                pruned, scores, _, _ = prune_upfront(
                    network,
                    batch,
                    workload.task.loss,
                    scorer,
                    densities[number - 1],
                    rounds=self.shots,
                    scope=self.scope,
                    within=mask,
                    seed=seed,
                )
                summary = {
                    "steps": record.steps,
                    "best_step": record.best_step,
                    "validation_loss": record.best_validation_loss,
                    "validation_accuracy": record.best_validation_accuracy,
                    "seconds": time.perf_counter() - begin,
                }
                state.finish_round(pruned.to("cpu"), scores, summary)
                if progress is not None:
                    progress(number * steps, self.rounds * steps)
        finally:
            network.load_state_dict(initial)
        return Found(
            state.mask_or_dense(),
            Scores(state.scores, repr(scorer)),
            state.survived,
            densities,
            state.rewind or initial,
            sum(float(entry["seconds"]) for entry in state.training),
            tuple(state.training),
        )


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda step, _: progress(done + step, total)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


class _State:
    """The rounds done so far, in memory and, with a directory, on disk (one file, replaced after each round)."""

    def __init__(self, path: Path | None, identity: str, network: nn.Module) -> None:
        self.path = path
        self.identity = identity
        self.survived = {n: torch.zeros_like(w, dtype=torch.int32, device="cpu") for n, w in prunable(network).items()}
        self.scores: dict[str, Tensor] = {n: torch.zeros_like(t, dtype=torch.float32) for n, t in self.survived.items()}
        self.rewind: dict[str, Tensor] | None = None
        self.training: list[dict[str, Any]] = []

    @property
    def rounds_done(self) -> int:
        return len(self.training)

    @property
    def mask(self) -> Mask | None:
        return None if not self.training else self.mask_or_dense()

    def mask_or_dense(self) -> Mask:
        return Mask({name: tensor >= self.rounds_done for name, tensor in self.survived.items()})

    def finish_round(self, mask: Mask, scores: Scores, summary: dict[str, Any]) -> None:
        for name, tensor in mask.tensors.items():
            self.survived[name] += tensor
        self.scores = {name: tensor.detach().cpu() for name, tensor in scores.tensors.items()}
        self.training.append(summary)
        self._save()

    def _save(self) -> None:
        if self.path is None:
            return
        tensors = {f"survived/{n}": t for n, t in self.survived.items()}
        tensors |= {f"scores/{n}": t.contiguous() for n, t in self.scores.items()}
        tensors |= {f"rewind/{n}": t.contiguous() for n, t in (self.rewind or {}).items()}
        with written_beside(self.path) as beside:
            save_file(tensors, beside, {"identity": self.identity, "training": json.dumps(self.training)})

    @classmethod
    def open(cls, directory: Path | None, identity: dict[str, Any], network: nn.Module) -> _State:
        path = None if directory is None else directory / "rounds.safetensors"
        state = cls(path, json.dumps(identity, sort_keys=True), network)
        if path is None or not path.exists():
            return state
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stored, training = metadata["identity"], json.loads(metadata["training"])
        except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it to begin the search again") from error
        if stored != state.identity:
            raise ValueError(f"{directory} holds the rounds of another search; choose another folder or delete it")
        state.survived = {name: found[f"survived/{name}"] for name in state.survived}
        state.scores = {name: found[f"scores/{name}"] for name in state.survived}
        state.rewind = {n.removeprefix("rewind/"): t for n, t in found.items() if n.startswith("rewind/")} or None
        state.training = training
        return state
