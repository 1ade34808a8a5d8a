"""Encoding: how a task's inputs were made of raw values, and what its outputs are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scratchcard.settings import settings_of
from scratchcard.words import quoted, shortened
from scratchcard.workloads.text_encoding import TextEncoding

_LARGEST = 3e38


@dataclass(frozen=True)
class Encoding:
    """What a user of a trained network must know beside its weights: which numbers it takes, and what it answers.

        input = (value / scale - mean) / std      of each channel

    Tickets hold it in their provenance, and exported programs beside the network.

    Attributes:
        mean, std: of each channel, or one of all; both empty where the inputs are no normalised values.
        scale: what raw values are divided by first: 255 for bytes.
        classes: the names of the outputs, in their order; empty where they have none.
        text: of texts, which token each word is.

    Raises:
        ValueError: as many means as standard deviations are expected, finite, a scale and deviations above zero, and
            names that are texts.

    Examples:
        >>> pets = Encoding(mean=(0.5,), std=(0.25,), scale=255.0, classes=("cat", "dog"))
        >>> pets.to_json()
        {'mean': [0.5], 'std': [0.25], 'scale': 255.0, 'classes': ['cat', 'dog']}
        >>> Encoding(classes=("cat", "dog")).to_json(), Encoding().to_json()
        ({'classes': ['cat', 'dog']}, {})
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 1.0
    classes: tuple[str, ...] = ()
    text: TextEncoding | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std", "classes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        numbers = (*self.mean, *self.std, self.scale)
        finite = all(isinstance(number, int | float) and abs(number) < _LARGEST for number in numbers)
        if len(self.mean) != len(self.std) or not finite or min((*self.std, self.scale)) <= 0:
            raise ValueError(
                f"an encoding has mean {quoted(list(self.mean))}, std {quoted(list(self.std))} and scale "
                f"{quoted(self.scale)}, expected as many finite means as standard deviations, and a scale and "
                "deviations above 0"
            )
        if not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"an encoding's classes are {quoted(list(self.classes))}, expected their names")

    def check_fits(self, outputs: int, shape: object, task: str) -> None:
        """Refuse names for another number of outputs, or means for another number of channels.

        Raises:
            ValueError: one sentence.

        Examples:
            >>> Encoding(classes=("cat", "dog")).check_fits(3, (1, 8, 8), "pets")
            Traceback (most recent call last):
                ...
            ValueError: pets has 3 outputs, and its encoding names 2 classes; name each output, or none
        """
        if self.classes and len(self.classes) != outputs:
            raise ValueError(
                f"{task} has {outputs} outputs, and its encoding names {len(self.classes)} classes; name each output, "
                "or none"
            )
        if self.text is not None and shape != (self.text.length,):
            raise ValueError(
                f"{task} has inputs of the shape {shape}, and its encoding texts of {self.text.length} tokens"
            )
        channels = shape[0] if isinstance(shape, tuple) and shape else None
        if len(self.mean) > 1 and len(self.mean) != channels:
            raise ValueError(
                f"{task} has inputs of the shape {shape}, and its encoding {len(self.mean)} means; give one for each "
                "channel, or one for all"
            )

    @classmethod
    def from_json(cls, described: object) -> Encoding:
        """The encoding that `to_json` described.

        Raises:
            ValueError: not an object, other keys, or values that no encoding has.

        Examples:
            >>> Encoding.from_json({"classes": ["cat", "dog"]}).classes
            ('cat', 'dog')
            >>> Encoding.from_json({"labels": ["cat", "dog"]})
            Traceback (most recent call last):
                ...
            ValueError: an encoding has labels, expected mean, std, scale, classes and text
        """
        if not isinstance(described, Mapping):
            raise ValueError(
                f"an encoding is {quoted(described)}, expected an object with mean, std, scale, classes and text"
            )
        known = settings_of(cls)
        for name, value in described.items():
            if name not in known:
                raise ValueError(f"an encoding has {shortened(str(name))}, expected mean, std, scale, classes and text")
            if name not in ("scale", "text") and not isinstance(value, list | tuple):
                raise ValueError(f"an encoding's {name} is {quoted(value)}, expected a list")
        text = described.get("text")
        return cls(**{**described, "text": None if text is None else TextEncoding.from_json(text)})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON of what is known."""
        found: dict[str, Any] = {}
        if self.mean:
            found |= {"mean": list(self.mean), "std": list(self.std), "scale": self.scale}
        found |= {"classes": list(self.classes)} if self.classes else {}
        return found | ({} if self.text is None else {"text": self.text.to_json()})


def encoding_kept(provenance: Mapping[str, Any], encoding: Encoding) -> dict[str, Any]:
    """A ticket's provenance with the encoding of the task that it was found or trained for.

    Examples:
        >>> encoding_kept({"seed": 0, "encoding": {"classes": ["cat"]}}, Encoding())
        {'seed': 0}
    """
    found = {name: value for name, value in provenance.items() if name != "encoding"}
    known = encoding.to_json()
    return found | ({"encoding": known} if known else {})
