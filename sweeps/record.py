"""Record: what the record of a finished run holds, with types and ranges; the one declaration of them."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scratchcard.artefacts.json_file import check_text

Number = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SHARES = ("accuracy", "f1", "precision", "recall")
"""Ends of the names of metrics that lie in [0, 1]."""
ROUNDING = 1e-9
"""What a density may be off by."""
SHOWN = 40
"""Characters of an odd value that are told."""


class _Part(BaseModel):
    """Of a record: no type stands for another, and what is not named here is passed over (later releases add to it)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Recipe(_Part):
    """The part of a recipe that tables name."""

    optimizer: str | None = None
    learning_rate: Number | None = None
    scoring_examples: Count | None = None
    max_steps: Count | None = None


class _Workload(_Part):
    """What was pruned and trained."""

    network: str
    task: str
    data_digest: str | None = None
    recipe: _Recipe = _Recipe()


class _Method(_Part):
    """How the ticket was found."""

    scorer: str
    regime: str
    on: str | None = None
    predictor_name: str | None = None
    predictor: str | None = None
    rounds: Count | None = None
    shots: Count | None = None
    schedule: str | None = None
    scope: str | None = None
    towards: Share | None = None
    restack: bool | None = None
    rewind_step: Count | None = None
    round_steps: Count | None = None
    search_steps: Count | None = None
    search_learning_rate: Number | None = None
    search_rise: Number | None = None
    search_stride: Number | None = None
    search_optimizer: str | None = None
    search_batch_size: Count | None = None
    search_weight_decay: Number | None = None
    settle: Number | None = None
    look_every: Count | None = None
    pace: Number | None = None
    update_steps: Count | None = None
    drop_fraction: Number | None = None
    update_share: Number | None = None
    same_sign: bool | None = None
    masks: Count | None = None
    thresholds: list[Number] | None = None
    mask_rate: Number | None = None
    mask_decay: Number | None = None
    initial: str | None = None
    initial_scorer: str | None = None
    kept_weights: str | None = None
    kept_signs: bool | None = None


class _Configuration(_Part):
    """All that decides a run."""

    workload: _Workload
    method: _Method
    density: Annotated[float, Field(gt=0, le=1)]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    results_version: Count | None = None


class _Training(_Part):
    """Of the ticket's training."""

    steps: Count | None = None
    best_step: Count | None = None
    validation_accuracy: Number | None = None
    validation_loss: Number | None = None
    seconds: Seconds | None = None
    early_stopped: bool | None = None
    diverged: bool | None = None
    engine: str | None = None


class _Round(_Training):
    """Of the training before a round's pruning."""

    density: Share | None = None


class _Versions(_Part):
    """Those that tables name."""

    torch: str | None = None
    python: str | None = None
    scratchcard: str | None = None


class Record(_Part):
    """The record of a finished run, `<digest>.json`; seconds are processor time where the device is the CPU.

    Examples:
        >>> task = sc.Task.of(torch.rand(60, 4), torch.arange(60) % 2)
        >>> workload = sc.Workload(nn.Linear(4, 2), task, sc.Recipe(max_steps=10, batch_size=32))
        >>> made, _ = sc.Experiment(workload, sc.Method("snip"), 0.25, 0).run()
        >>> Record.of(json.dumps(made)).kept
        2
    """

    digest: str
    label: str
    configuration: _Configuration
    kept: Count
    prunable: Count
    effective_density: Share | None = None
    layer_density: dict[str, Share] | None = None
    live_units: dict[str, Count] | None = None
    checks: dict[str, str] | None = None
    pruning_seconds: Seconds | None = None
    passes: Seconds | None = None
    rounds: list[_Round] | None = None
    training: _Training = _Training()
    history: list[tuple[Count, Number | None, Number | None, Number | None]] | None = None
    test_accuracy: Number | None
    test_loss: Number | None = None
    metric: str | None = None
    test_metrics: dict[str, Number | None] | None = None
    wall_seconds: Seconds | None = None
    device: str | None = None
    machine: str | None = None
    versions: _Versions = _Versions()
    finished: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """What several values say must agree."""
        if self.kept > self.prunable:
            raise ValueError(f"kept is {self.kept}, which is more than prunable, {self.prunable}")
        if (self.effective_density or 0.0) * self.prunable > self.kept + ROUNDING * self.prunable:
            raise ValueError(f"effective_density is {self.effective_density}, which is more than kept / prunable")
        metric = self.metric or "accuracy"
        if metric.endswith(SHARES) and not 0 <= (self.test_accuracy or 0.0) <= 1:
            raise ValueError(f"test_accuracy is {self.test_accuracy}, but {metric} lies between 0 and 1")
        return self

    @classmethod
    def of(cls, text: str | bytes) -> Self:
        """The record that a file's text is.

        Raises:
            ValueError: it is none, or holds what no run writes; says what is odd, in a few words.

        Examples:
            >>> Record.of('{"digest": 12}')
            Traceback (most recent call last):
                ...
            ValueError: digest should be a valid string, not 12
        """
        check_text(text)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise ValueError(_told(first["type"], first["loc"], first["msg"], first["input"])) from error


def _told(kind: str, place: tuple[int | str, ...], message: str, value: Any) -> str:
    if kind == "json_invalid":
        return "it is no whole JSON"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    name = ".".join(map(str, place)) or "it"
    if kind == "missing":
        return f"{name} is missing"
    shown = json.dumps(value, default=str) if not isinstance(value, float) or math.isfinite(value) else str(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    return f"{name} {message.removeprefix('Input ')}, not {shown}"
