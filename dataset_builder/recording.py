"""Recording: which slow regime gives a score table's targets; torch is imported on use, settings are read without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from scratchcard.regimes import REGIMES, Early, Regime, by_words, make_regime, owners
from scratchcard.setting import SettingError, setting
from scratchcard.settings import Settings, changed, make, settings_of

if TYPE_CHECKING:
    from scratchcard.scorers.scorer import Scorer
else:
    Scorer = Callable


def registered_scorers() -> tuple[Mapping[str, Any], str]:
    """The registered scorers and their group of entry points.

    Examples:
        >>> scorers, group = registered_scorers()
        >>> "snip" in scorers, group
        (True, 'scorers')
    """
    from scratchcard.scorers import SCORERS

    return SCORERS, "scorers"


_OF_LOOKS = ("looks", "slow", "slow_scorer", "slow_rounds", "tickets")
"""Settings that only early regimes have."""


@dataclass(frozen=True)
class Recording(Settings):
    """Which slow regime gives the targets, and what is recorded of it; or an early regime, whose looks are recorded.

    Of an early regime (ESS, EMS) each look has rows, of the weights that are still kept there, as the search's training
    has made them; their targets come from slow tickets of the same initial weights.

    Attributes:
        regime: a name, or a regime with its settings, `ISS(rounds=5)`; IMS with SynFlow is the source thesis' target,
            ISS with magnitude is IMP.
        scorer: a registered name, or a scorer with its settings.
        density: of the slow ticket.
        every_round: also a row for each kept weight after each round but the last, with the features of the masked
            network; otherwise only the dense network's rows (round 0).
        repeat: run the slow regime a second time with another data order and record what it keeps: the noise ceiling.
        looks: of an early regime, those that have rows, from 1 on; all by default.
        slow: of an early regime, the slow regime that gives the targets: a name, or a regime with its settings.
        slow_scorer: its scorer.
        slow_rounds: its rounds, where it is given by name.
        tickets: of an early regime, slow tickets that targets are averaged over, each with another data order.

    Examples:
        >>> Recording("ISS", "magnitude", density=0.02).make_regime().label
        'ISS 10'
        >>> Recording("EMS", "magnitude", density=0.02, slow_rounds=5, tickets=3).make_slow().label
        'ISS 5'
        >>> Recording("ISS", tickets=3)
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: Recording's tickets is for early regimes (ESS, EMS), whose looks ...
        >>> Recording(density=2)
        Traceback (most recent call last):
            ...
        scratchcard.setting.SettingError: Recording's density is 2, expected a number in (0, 1]
    """

    regime: str | Regime = setting(
        "IMS", help="Slow regime: ISS, IMS (the others work too)", example="ISS", choices=lambda: (REGIMES, "regimes")
    )
    scorer: str | Scorer = setting(
        "synflow", help="Its scorer; magnitude in ISS is IMP", example="magnitude", choices=registered_scorers
    )
    density: float = setting(0.005, help="Of the slow ticket, in (0, 1]", example=0.02, above=0, high=1)
    every_round: bool = setting(
        False,
        help="Rows for the network after each round, for pruning in rounds; else the dense one only",
        example=True,
    )
    repeat: bool = setting(False, help="A second slow ticket with another data order: the noise ceiling", example=True)
    looks: tuple[int, ...] = setting(
        (), help="Of an early regime: the looks that have rows", example=(1, 5), low=1, unset="all"
    )
    slow: str | Regime = setting(
        "ISS",
        help="Of an early regime: the slow regime that gives the targets",
        example="IMS",
        choices=lambda: (REGIMES, "regimes"),
    )
    slow_scorer: str | Scorer = setting(
        "magnitude", help="Of an early regime: the slow regime's scorer", example="synflow", choices=registered_scorers
    )
    slow_rounds: int | None = setting(
        None, help="Of an early regime: the slow regime's rounds", example=5, low=1, unset="its own"
    )
    tickets: int = setting(
        1, help="Of an early regime: slow tickets that the targets are averaged over", example=3, low=1
    )

    def __post_init__(self) -> None:
        from scratchcard.scorers import make_scorer

        for name in ("scorer", "slow_scorer"):
            scorer = getattr(self, name)
            if isinstance(scorer, Mapping):
                object.__setattr__(self, name, scorer := make_scorer(scorer))
            if callable(scorer) and (isinstance(scorer, type) or not is_dataclass(scorer)):
                raise ValueError(
                    f"{scorer!r} cannot be a recording's scorer: expected a registered name or a frozen dataclass of "
                    "settings, such as SNIP()"
                )
        super().__post_init__()
        if isinstance(self.regime, str):
            object.__setattr__(self, "regime", make_regime(self.regime))
        if self.is_early:
            self._check_looks()
            return
        for name in _OF_LOOKS:
            if getattr(self, name) != settings_of(type(self))[name].default:
                who = self.make_regime().name
                self._refuse(name, f"is for early regimes (ESS, EMS), whose looks are recorded; the regime is {who}")

    def _check_looks(self) -> None:
        """Refuse what an early recording cannot have.

        Raises:
            ValueError: one sentence.
        """
        regime = self.make_regime()
        assert isinstance(regime, Early)  # noqa: S101  (that is what early means)
        if self.every_round:
            self._refuse("every_round", "is for slow regimes; an early one has rows at each of its `looks`")
        if isinstance(self.slow, Regime) and self.slow_rounds is not None:
            self._refuse("slow_rounds", "is given twice, as slow is a regime with its own; leave it away")
        slow = self.make_slow()
        if isinstance(slow, Early):
            self._refuse("slow", f"is {slow.name}, expected a regime that is not early, such as ISS or IMS")
        if regime.settling() is not None:
            self._refuse("settle", "ends a search when nobody knows; the looks of a table are known beforehand")
        count = len(regime.looks(self.density))
        if len(set(self.looks)) < len(self.looks) or max(self.looks, default=1) > count:
            self._refuse("looks", f"are {list(self.looks)}, expected numbers in [1, {count}], each only once")

    def _refuse(self, name: str, why: str) -> None:
        raise SettingError(f"{name} {why}", name, type(self).__name__)

    @classmethod
    def _elsewhere(cls, name: str) -> str:
        return by_words(name, cls)

    @classmethod
    def of(cls, *own: Any, **words: Any) -> Recording:
        """A recording from flat words: its own settings and its regime's.

            >>> Recording.of("ISS", "magnitude", 0.05, rounds=2).make_regime().label
            'ISS 2'

        Raises:
            ValueError: a setting that the regime does not have, or a value that the setting cannot have.
        """
        recording = cls(*own, **{name: words.pop(name) for name in settings_of(cls) if name in words})
        regime = recording.make_regime()
        return replace(recording, regime=make(type(regime), regime.name, changed(regime) | words, owners))

    def make_regime(self) -> Regime:
        """The regime."""
        assert isinstance(self.regime, Regime)  # noqa: S101  (since it was made)
        return self.regime

    @property
    def is_early(self) -> bool:
        """Whether the looks of an early regime are recorded."""
        return isinstance(self.regime, Early)

    def make_slow(self) -> Regime:
        """The regime that gives the targets."""
        if not self.is_early:
            return self.make_regime()
        if isinstance(self.slow, Regime):
            return self.slow
        return make_regime(self.slow, **({} if self.slow_rounds is None else {"rounds": self.slow_rounds}))

    def describe(self) -> dict[str, Any]:
        """Plain JSON; a scorer, regime or schedule that is not this project's own counts with its code."""
        from scratchcard.regimes.own_code import own_code
        from scratchcard.scorers import make_scorer

        code = own_code(self.make_regime(), [self.scorer])
        found: dict[str, Any] = {}
        if self.is_early:
            slow = self.make_slow()
            code |= own_code(slow, [self.slow_scorer])
            found = {
                "looks": list(self.looks),
                "slow": {"regime": slow.name, "scorer": repr(make_scorer(self.slow_scorer)), "settings": slow.identity},
                "tickets": self.tickets,
            }
        return (
            ({"code": code} if code else {})
            | {
                "regime": self.make_regime().name,
                "scorer": repr(make_scorer(self.scorer)),
                "settings": self.make_regime().identity,
                "density": self.density,
                "every_round": self.every_round,
                "repeat": self.repeat,
            }
            | found
        )
