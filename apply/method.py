"""Method: everything that decides which ticket is found, in one value."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from scratchcard.regimes import REGIMES, Regime, by_words, make_regime, owners
from scratchcard.setting import SettingError, setting
from scratchcard.settings import Settings, changed, described, make, settings_of

if TYPE_CHECKING:
    from torch import nn

    from scratchcard.scorers.scorer import Scorer
    from scratchcard.scorers.stored_scores import Shared
    from scratchcard.workloads.workload import Workload
else:  # scorers need torch, and settings are read without it: a scorer is what can be called
    Scorer = Callable

PREDICTED = "predicted"
OF_PREDICTOR = {
    PREDICTED: "What a predictor expects of the slow regime, or the stored ticket that it lays into the network.",
    "transplanted": "The mask of a predictor's first stored ticket that has the network's layout, as it lies.",
    "transplanted_layers": "Random weights, as many of each layer as that stored ticket has.",
}
"""Scorers that read a predictor or its stored tickets, and what they are."""
_SCORERS = ("scorer", "on", "initial_scorer")
FIXED = "synflow_l2_data"
"""The scorer where none is named: the best fixed criterion; nothing is fitted for it, and it serves every network that
SynFlow serves. The shipped predictor is better on perceptrons for images of digits, for which it was fitted; what it
says of other networks is not known, so that it is not the default for any network."""


def named_scorers() -> tuple[Mapping[str, Any], str]:
    """Scorers that a method can name, and their group of entry points.

    Examples:
        >>> names, group = named_scorers()
        >>> "snip" in names, "predicted" in names, group
        (True, True, 'scorers')
    """
    from scratchcard.scorers import SCORERS

    return SCORERS | OF_PREDICTOR, "scorers"


@dataclass(frozen=True)
class Method(Settings):
    """A scorer, perhaps on another's scores, in a regime, from some initial weights.

        >>> from scratchcard.regimes import UMS
        >>> from scratchcard.scorers import GraSP
        >>> Method("synflow") == Method("synflow", regime=UMS(rounds=100))
        True
        >>> Method(GraSP(temperature=1.0)).label
        'grasp(temperature=1.0)'

    Attributes:
        scorer: a registered name, or a scorer with its settings, `GraSP(temperature=1.0)`; `predicted` for the
            predictor's scores, and the other names of `OF_PREDICTOR`.
        on: stacked scoring: the scorer whose scores stand in for the weights, or None.
        predictor: the bundle's folder, or the name of one that is shipped, for these.
        regime: a name (the regime with its defaults), or a regime with its settings, `UMS(rounds=16)`. None: what the
            scorer or the predictor wants. Once made, a method holds the regime itself.
        initial: a name of `INITIAL`; `signed` is as given where the predictor has no ticket to lay.
        initial_scorer: for `saw` and `saw_variance`.
        kept_weights, kept_signs: mask-1 actions, see `apply.kept_weights`.
        restack: stacked scoring in several rounds: the first scorer scores anew in every round, as in the source of the
            idea, not once at the start.
        predictor_name: the predictor's name in tables; None takes its family.
        predictor_identity: digest of all that the predictor is fitted from, where that is known before it is fitted (in
            grids); it stands for the bundle's own digest.

    Raises:
        ValueError: unknown names, or parts that do not go together; a setting of a regime, which `Method.of` takes.
        FileNotFoundError: there is no such predictor to say which regime it wants.
    """

    called: ClassVar[str] = "the method"

    scorer: str | Scorer = setting(
        help="Whose scores decide: a registered criterion, or `predicted` for a predictor's",
        example="snip",
        choices=named_scorers,
    )
    on: str | Scorer | None = setting(
        None, help="Stacked scoring: whose scores stand in for the weights", example="predicted", choices=named_scorers
    )
    predictor: str | None = setting(
        None,
        help="For scorers that need one: `default`, which is shipped, `policy` (the same without stored tickets), or a "
        "bundle's folder",
        example="default",
    )
    regime: str | Regime | None = setting(
        None,
        help="When scores are taken and the network trained in between: USS, UMS, ISS, IMS, ESS, EMS, RigL, Supermask, "
        "EdgePopup, BernoulliMask or GemMiner",
        example="ISS",
        choices=lambda: (REGIMES, "regimes"),
        unset="the scorer's or the predictor's own: UMS for synflow and synflow_l2_data, ISS for criteria on "
        "initial and trained weights such as movement, else USS",
    )
    initial: Literal[
        "given", "signed", "saw", "saw_variance", "bimodal", "constant", "scaled_kaiming", "transplanted"
    ] = setting(
        "given",
        help="Initial weights: as built; with the signs, or the weights, of the predictor's stored ticket (signed, "
        "transplanted); a scorer's scores, scaled to [-1, 1] (saw) or keeping variance (saw_variance); bi-modal; one "
        "size for a layer (constant); Kaiming-normal, scaled by the density (scaled_kaiming)",
        example="signed",
    )
    initial_scorer: str | Scorer | None = setting(
        None, help="Whose scores become the weights (saw, saw_variance)", example="snip", choices=named_scorers
    )
    restack: bool = setting(
        False, help="Stacks in several rounds: the first scorer scores anew in every round", example=True
    )
    kept_weights: Literal["rewound", "constant", "reinitialised", "reshuffled"] = setting(
        "rewound", help="What becomes of kept weights before the ticket is trained", example="constant"
    )
    kept_signs: bool = setting(False, help="They keep their initial signs; else constants have any", example=True)
    predictor_name: str | None = setting(None, help="The predictor's name in tables", unset="its family")
    predictor_identity: str | None = setting(None, help="Digest of what the predictor is fitted from", unset="its own")

    def __post_init__(self) -> None:
        given = {name: _normal(getattr(self, name)) for name in _SCORERS}
        predictor: Any = self.predictor
        if isinstance(predictor, os.PathLike):
            given["predictor"] = os.fspath(predictor)
        for name, value in given.items():
            object.__setattr__(self, name, value)
        super().__post_init__()
        asking = [name for name in (self.scorer, self.on, self.initial_scorer) if name in OF_PREDICTOR]
        asking += [self.initial] if self.initial in ("signed", "transplanted") else []
        if asking and self.predictor is None:
            raise ValueError(
                f"{asking[0]!r} needs a predictor: a bundle's folder, or the name of a shipped one such as 'default'"
            )
        if not asking and self.predictor is not None:
            raise ValueError(f"a predictor was given but the scorer is {self.scorer!r}; use the scorer 'predicted'")
        if self.initial.startswith("saw") != (self.initial_scorer is not None):
            raise ValueError(
                "initial weights 'saw' and 'saw_variance' need an initial scorer, the others take none; got "
                f"initial={self.initial!r} with initial_scorer={self.initial_scorer!r}"
            )
        if self.kept_signs and self.kept_weights == "rewound":
            raise SettingError("kept_signs is for kept weights that change, and they are rewound", "kept_signs")
        if (self.predictor_name or self.predictor_identity) and self.predictor is None:
            raise ValueError("a predictor's name or identity was given without a predictor")
        regime = self._wanted() if self.regime is None else self.regime
        regime = make_regime(regime) if isinstance(regime, str) else regime
        object.__setattr__(self, "regime", regime)
        if self.restack and (self.on is None or not regime.named):
            raise ValueError(
                "restack has both scorers of a stack score in every round; it needs a scorer `on` another and several "
                f"rounds, got on={self.on!r} in {regime.name}"
            )

    @classmethod
    def _elsewhere(cls, name: str) -> str:
        return by_words(name, cls)

    @classmethod
    def of(cls, scorer: str | Mapping[str, Any] | Scorer | None = None, **words: Any) -> Method:
        """A method from flat words, as the command line and grids have them: its own settings and its regime's.

            >>> Method.of("snip", regime="UMS", rounds=16, schedule="cubic").label
            'snip, UMS 16, cubic'
            >>> Method.of("snip", rounds=16)
            Traceback (most recent call last):
            ...
            scratchcard.setting.SettingError: USS has no setting rounds (UMS, ISS, IMS, EMS, GemMiner have it); it ...

        Args:
            scorer: as for `Method`, or a name with settings, `{"name": "grasp", "temperature": 1.0}`. None: the
                predictor's scores where one is given, else `FIXED`'s.
            words: the other settings; None is a value, not a default.

        Raises:
            ValueError: a setting that neither methods nor the regime have, or what `Method` refuses.
        """
        if scorer is None:
            scorer = PREDICTED if words.get("predictor") is not None and words.get("on") is None else FIXED
        own = {name: words.pop(name) for name in settings_of(cls) if name in words}
        for name in words:
            if not owners(name):
                raise SettingError(f"a method has no setting {name}, and no regime has it", name)
        method = cls(scorer, **own)  # type: ignore[arg-type]
        regime = method.make_regime()
        if not words:
            return method
        return dataclasses.replace(method, regime=make(type(regime), regime.name, changed(regime) | words, owners))

    def make_regime(self) -> Regime:
        """The regime."""
        assert isinstance(self.regime, Regime)  # noqa: S101  (since it was made)
        return self.regime

    def _wanted(self) -> str | Regime:
        """The regime that the scorer or its predictor wants."""
        from scratchcard.scorers import make_scorer

        if self.scorer == PREDICTED and self.predictor_identity is None:
            from scratchcard.apply.shipped import own_regime

            return own_regime(str(self.predictor)) or "USS"
        return "USS" if self.scorer in OF_PREDICTOR else make_scorer(self.scorer).regime

    @property
    def label(self) -> str:
        """Short name for tables: `snip`, `synflow on predicted, UMS 100` ..."""
        from scratchcard.apply.shipped import SHIPPED
        from scratchcard.scorers import scorer_name

        own = self.predictor_name or (self.predictor if self.predictor in SHIPPED else None)
        names = [scorer_name(name) for name in (self.scorer, self.on) if name]
        text = " on ".join(own or name if name == PREDICTED else name for name in names)
        text += " every round" if self.restack else ""
        kept = "" if self.kept_weights == "rewound" else f"kept {self.kept_weights}{' by sign' * self.kept_signs}"
        return ", ".join(filter(None, (text, self.make_regime().label, self.start_label, kept)))

    @property
    def start_label(self) -> str:
        """Short name of the initial weights; empty where they are as given."""
        from scratchcard.scorers import scorer_name

        if self.initial == "given":
            return ""
        if self.initial == "transplanted":
            return "with its weights"
        name = self.predictor_name if self.initial_scorer == PREDICTED else None
        return " ".join(filter(None, (self.initial, name or scorer_name(self.initial_scorer or ""))))

    def make_scorer(self, density: float, seed: int, shared: Shared | None = None) -> Scorer:
        """The scorer object for a final density and a seed (of the random scorer).

        Args:
            density: to reach.
            seed: of the random scorer.
            shared: collects and reuses the scores of whole networks.
        """
        from scratchcard.apply import method_parts

        return method_parts.scorer(self, density, seed, shared)

    def start(
        self, workload: Workload, density: float, seed: int, *, shared: Shared | None = None, **placement: Any
    ) -> nn.Module:
        """The network with the initial weights that this method prunes and trains from."""
        from scratchcard.apply import method_parts

        return method_parts.initial_network(self, workload, density, seed, shared, **placement)

    def describe(self) -> dict[str, Any]:
        """Plain JSON; a predictor is named by the digest of its manifest, not by its path alone.

        Settings that came later than the first results are left out where they are at their default, so that earlier
        runs keep their identity. A scorer or regime of the user's own counts with its code.
        """
        from scratchcard.apply import method_parts
        from scratchcard.regimes.own_code import own_code
        from scratchcard.scorers import scorer_name

        found = described(self, dict.fromkeys(("scorer", "on", "predictor", "initial", "initial_scorer")))
        found |= {name: scorer_name(found[name]) for name in _SCORERS if found[name] is not None}
        found |= self.make_regime().describe()
        if self.predictor is not None:
            found["predictor_digest"] = self.predictor_identity or method_parts.predictor_digest(self.predictor)
        if self.predictor_identity is not None:  # where it lies in the folder of results, wherever that is
            found["predictor"] = f"predictors/{self.predictor_identity}"
        code = own_code(self.make_regime(), [getattr(self, name) for name in _SCORERS])
        return found | ({"code": code} if code else {})


def _normal(wanted: Any) -> Any:
    """A scorer with default settings is its name, so that both are one method; one with others is an object."""
    from scratchcard.scorers import known_as, make_scorer

    if wanted is None or isinstance(wanted, str):
        return wanted
    scorer = make_scorer(wanted) if isinstance(wanted, Mapping) else wanted
    if isinstance(scorer, type) or not isinstance(scorer, Settings):
        raise ValueError(
            f"{scorer!r} cannot be a method's scorer: expected a registered name or a frozen dataclass of settings, as "
            "class SNIP(Settings, Scorer) is; for a predictor say scorer='predicted' and name the predictor"
        )
    name = known_as(scorer)  # type: ignore[arg-type]
    return scorer if name is None or changed(scorer) else name
