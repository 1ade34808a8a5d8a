"""Recording: which slow regime gives a score table's targets; torch is imported on use, settings are read without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from scratchcard.regimes import REGIMES, Regime, by_words, make_regime, owners
from scratchcard.setting import setting
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


@dataclass(frozen=True)
class Recording(Settings):
    """Which slow regime gives the targets, and what is recorded of it.

    Attributes:
        regime: a name, or a regime with its settings, `ISS(rounds=5)`; IMS with SynFlow is the source thesis' target,
            ISS with magnitude is IMP.
        scorer: a registered name, or a scorer with its settings.
        density: of the slow ticket.
        every_round: also a row for each kept weight after each round but the last, with the features of the masked
            network; otherwise only the dense network's rows (round 0).
        repeat: run the slow regime a second time with another data order and record what it keeps: the noise ceiling.

    Examples:
        >>> Recording("ISS", "magnitude", density=0.02).make_regime().label
        'ISS 10'
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

    def __post_init__(self) -> None:
        from scratchcard.scorers import make_scorer

        if isinstance(self.scorer, Mapping):
            object.__setattr__(self, "scorer", make_scorer(self.scorer))
        if callable(self.scorer) and (isinstance(self.scorer, type) or not is_dataclass(self.scorer)):
            raise ValueError(
                f"{self.scorer!r} cannot be a recording's scorer: expected a registered name or a frozen dataclass of "
                "settings, such as SNIP()"
            )
        super().__post_init__()
        if isinstance(self.regime, str):
            object.__setattr__(self, "regime", make_regime(self.regime))

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

    def describe(self) -> dict[str, Any]:
        """Plain JSON; a scorer, regime or schedule that is not this project's own counts with its code."""
        from scratchcard.regimes.own_code import own_code
        from scratchcard.scorers import make_scorer

        code = own_code(self.make_regime(), [self.scorer])
        return ({"code": code} if code else {}) | {
            "regime": self.make_regime().name,
            "scorer": repr(make_scorer(self.scorer)),
            "settings": self.make_regime().identity,
            "density": self.density,
            "every_round": self.every_round,
            "repeat": self.repeat,
        }
