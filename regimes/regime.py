"""What every regime takes and gives. Torch and what needs it are imported on use: settings are read without them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from scratchcard.pruning.modes import Statistics
from scratchcard.pruning.schedules import check_count, check_density, check_floor
from scratchcard.pruning.scopes import Scope
from scratchcard.setting import setting, shown
from scratchcard.settings import Settings, described, settings_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from scratchcard.pruning.mask import Mask
    from scratchcard.pruning.scores import Scores
    from scratchcard.scorers.scorer import Batch, Scorer
    from scratchcard.workloads.recipe import Recipe
    from scratchcard.workloads.session import Session
    from scratchcard.workloads.workload import Workload

METHOD_FIRST = {"rounds": 1, "shots": 10, "schedule": "exponential", "scope": "global", "rewind_step": 0}
"""The regimes' settings that the first methods were described by, and what stood there for regimes without them."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a regime found.

    Attributes:
        mask: the kept weights.
        scores: of the last round, taken before its cut; pruned weights of earlier rounds score 0.
        survived: for each weight the number of rounds that kept it, int32; masks are nested, so this holds them all.
        densities: the density after each round.
        start: the state (parameters and buffers, CPU) that the ticket is trained from: initialisation, or the early
            step that the regime rewound to.
        seconds: of the whole search (`clock`), training included, earlier sessions' rounds included.
        training: for each round that trained, the density after it and its record in short (steps, best step,
            validation loss and accuracy, seconds).
        by_lot: how many weights the last cut kept by lot, among others of the same score.

    Examples:
        >>> from scratchcard.regimes import UMS
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task)
        >>> found = UMS(rounds=2).find(workload, sc.make_scorer("magnitude"), density=0.25, seed=0)
        >>> found.densities, found.mask_after(1).kept, found.mask.kept
        ((0.5, 0.25), 4, 2)
    """

    mask: Mask
    scores: Scores
    survived: Mapping[str, Tensor]
    densities: tuple[float, ...]
    start: Mapping[str, Tensor]
    seconds: float
    training: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)
    by_lot: int = 0

    @property
    def rounds(self) -> int:
        """Number of pruning rounds."""
        return len(self.densities)

    def mask_after(self, round_: int) -> Mask:
        """The mask after round 1 ... rounds; 0 is the dense mask.

        Raises:
            ValueError: no such round.
        """
        from scratchcard.pruning.mask import Mask

        if not 0 <= round_ <= self.rounds:
            raise ValueError(f"round must lie in 0 ... {self.rounds}, got {round_}")
        return Mask({name: tensor >= round_ for name, tensor in self.survived.items()}, self.mask.excluded)


@dataclass(frozen=True, eq=False)
class Search:
    """What a regime is asked for.

    `network` is the search's own, `batch` is the scoring batch, `excluded` are the names of weights that stay whole.

    Examples:
        >>> task = sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task)
        >>> batch = workload.scoring_batch(0)
        >>> search = Search(workload, workload.build(0), batch, sc.make_scorer("snip"), 0.5, 0, 0, sc.Session())
        >>> len(search.batch[1]), search.density
        (28, 0.5)
    """

    workload: Workload
    network: nn.Module
    batch: Batch
    scorer: Scorer
    density: float
    seed: int
    data_seed: int
    session: Session
    excluded: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Regime(Settings, ABC):
    """Finds a mask for a workload's network. A regime is a frozen dataclass of the settings that it has.

    Attributes:
        trains: whether the network is trained between rounds.
        chooses: whether the density asked for is the most that may be kept, and the mask's own is its choice.
        keeps: what of a search is kept in a store, in words.
        named: whether labels name it.
        first: how the regime was described when the first tables were recorded, which `identity` keeps: a name, and the
            settings in their order with what stands for those that it does not have.
        scope: compare all weights with each other or each layer's among themselves.
        statistics: what batch normalisation normalises by while the network is scored.

    Examples:
        >>> from dataclasses import replace
        >>> from scratchcard.regimes import USS
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Half(Regime):
        ...     rounds = 1
        ...
        ...     def _search(self, asked):
        ...         return USS()._search(replace(asked, density=asked.density / 2))
        >>> workload = sc.Workload(nn.Linear(4, 2), sc.Task.of(torch.rand(40, 4), torch.arange(40) % 2))
        >>> Half().find(workload, sc.make_scorer("magnitude"), density=0.5, seed=0).mask.kept
        2
    """

    trains: ClassVar[bool] = False
    chooses: ClassVar[bool] = False
    keeps: ClassVar[str] = "finished rounds"
    named: ClassVar[bool] = True
    first: ClassVar[tuple[str, Mapping[str, Any]]] = ("", {})

    scope: Scope = setting(
        "global",
        help="Compare all weights with each other (global), or each layer's among themselves with layers as dense as "
        "each other (layer), as the expected scores have it (expected), or by Erdos-Renyi-Kernel (erk)",
        example="layer",
        label=", scope {}",
    )
    floor: int = setting(
        0, help="Keep at least this many weights of each layer", example=1, low=0, label=", at least {} a layer"
    )
    exclude: tuple[str, ...] = setting(
        (),
        help="Weights that stay whole and are not counted, by name, layer or glob",
        example=("fc",),
        unset="frozen ones",
        label=", without {}",
    )
    include: tuple[str, ...] = setting(
        (),
        help="Of those that are excluded or frozen, prune these all the same",
        example=("0.*",),
        unset="none",
        label=", with {}",
    )
    statistics: Statistics = setting(
        "batch",
        help="What batch normalisation normalises by in scoring: the batch's statistics, or the running ones, which "
        "are 0 and 1 before any training",
        example="running",
        label=", {} statistics",
    )

    @property
    def name(self) -> str:
        """The regime's name."""
        return type(self).__name__

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Number of pruning rounds."""

    @property
    def identity(self) -> str:
        """By which score tables know the regime that they were recorded with.

        >>> from scratchcard.regimes import ISS
        >>> ISS().identity
        "Iterative(rounds=10, shots=1, schedule='exponential', scope='global', rewind_step=0)"
        """
        known, settings = self.first
        own = described(self, settings)
        return f"{known or self.name}({', '.join(f'{name}={value!r}' for name, value in own.items())})"

    def describe(self) -> dict[str, Any]:
        """Plain JSON, as methods are described: settings that came later only where they are not at their default."""
        return {"regime": self.name} | described(self, METHOD_FIRST | {"rounds": self.rounds})

    @property
    def label(self) -> str:
        """For tables: `UMS 100`, `IMS 10 x 5, cubic` ...; empty for the plainest.

        >>> from scratchcard.regimes import IMS
        >>> IMS(shots=5, schedule="cubic").label
        'IMS 10 x 5, cubic'
        """
        known = settings_of(type(self))
        text = f"{self.name} {self.rounds}" if "rounds" in known else self.name if self.named else ""
        for name in dict.fromkeys((*self.first[1], *known)):
            if name in known and name != "rounds" and getattr(self, name) != known[name].default:
                value = getattr(self, name)
                given = shown(value) if isinstance(value, tuple) else value
                text += (known[name].label or f", {name.replace('_', ' ')} {{}}").format(given)
        return text.removeprefix(", ")

    @property
    def starts_from(self) -> str:
        """What the ticket starts from, in words; empty where that is the initial weights."""
        return ""

    @property
    def begins_dense(self) -> bool:
        """Whether it begins with the dense network's whole training, which other searches of the same begin with."""
        return False

    def check(self, recipe: Recipe, density: float) -> None:
        """Refuse what the regime cannot do with a recipe or at a density, by a ValueError."""
        check_density(density)

    def find(
        self,
        workload: Workload,
        scorer: Scorer,
        density: float,
        seed: int,
        session: Session | None = None,
        *,
        network: nn.Module | None = None,
        copied: bool = True,
        data_seed: int | None = None,
    ) -> Found:
        """Prune the network of `workload` at initialisation `seed` down to `density`.

        Args:
            workload: network, task, recipe.
            scorer: the criterion.
            density: kept weights / prunable weights, in (0, 1].
            seed: of the initial weights, the scoring batch and the order of ties.
            session: where and how; with a store, each finished training is kept there, so that the next call goes on
                after it and other searches share it.
            network: a copy of it is used in place of `workload.build(seed)`.
            copied: False: it is handed over; it may be changed, and its tensors may become the ticket's.
            data_seed: of the data order in training; `seed` if not given. Upfront regimes do not train.

        Raises:
            ValueError: a density outside (0, 1] or that keeps too few weights for the floor, or what the regime cannot
                do (`check`).
        """
        from scratchcard.pruning.parameters import prunable
        from scratchcard.workloads.module_copy import module_copy
        from scratchcard.workloads.session import Session

        session = session or Session()
        self.check(workload.recipe, density)
        if network is None:
            network, copied = workload.build(seed, **session.placement), False
        network = (module_copy(network) if copied else network).to(session.device)
        weights, excluded = prunable(network), self.left_out(network)
        sizes = [weight.numel() for name, weight in weights.items() if name not in excluded]
        check_count(density, sum(sizes))
        kept = sum(round(density * size) for size in (sizes if self.scope == "layer" else [sum(sizes)]))
        check_floor(self.floor, sum(min(self.floor, size) for size in sizes), kept)
        batch = workload.scoring_batch(seed, **session.placement)
        data_seed = seed if data_seed is None else data_seed
        return self._search(Search(workload, network, batch, scorer, density, seed, data_seed, session, excluded))

    def left_out(self, network: nn.Module) -> frozenset[str]:
        """The names of prunable weights that stay whole: those of `exclude` and the frozen ones, less `include`.

        A weight is frozen if it does not require a gradient.

        Raises:
            ValueError: a name that is none, or nothing left to prune.
        """
        from scratchcard.pruning.parameters import matching, prunable

        weights = prunable(network)
        frozen = frozenset(name for name, weight in weights.items() if not weight.requires_grad)
        found = (matching(weights, self.exclude) | frozen) - matching(weights, self.include)
        if len(found) == len(weights):
            why = "all are frozen" if not self.exclude else "all are excluded or frozen"
            raise ValueError(f"{type(network).__name__} has no weight left to prune: {why}; include some of them")
        return found

    @abstractmethod
    def _search(self, asked: Search) -> Found:
        """The regime's own part of `find`."""
