"""Published figures that stand beside ours: facts in CSV files, each with its source, in our words and labels."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratchcard.registry import lookup

if TYPE_CHECKING:
    import pandas as pd

ACCURACIES = ("composite_pruning_mnist", "saw_dense_training", "cifar10_pruning_at_init")
"""Those whose rows can stand beside a run of ours."""
PUBLISHED = dict.fromkeys((*ACCURACIES, "meta_model_metrics", "supermasks"))
ROUNDS = {"UMS": 100, "ISS": 10, "IMS": 10}
"""The source's, where it prunes in several."""
REGIMES = {"random": "USS", "magnitude": "USS", "snip": "USS", "grasp": "USS", "synflow": "UMS"}
"""`published` as a regime: that of the scorer's own paper."""
INITIAL = {"kaiming_normal": "given", "bimodal": "bimodal"}
FAMILIES = {
    **{"LinearRegression": "linear", "SGDRegressor": "sgd", "DecisionTreeRegressor": "tree"},
    **{"RandomForestRegressor": "forest", "MLP": "mlp"},
}
FOLDER = Path(__file__).with_suffix("")
COLUMNS = (
    *("table", "task", "network", "density", "label", "scorer", "on", "regime", "initial", "initial_scorer"),
    *("test_accuracy", "starred", "steps", "citation", "runs", "settings"),
)
TEXTS = ("table", "task", "network", "label", "scorer", "on", "regime", "initial", "initial_scorer", "citation")
SETTINGS = ("task", "network", "density", "scorer", "on", "regime", "initial", "initial_scorer")
"""What a run of ours must share with a published figure to stand beside it; of a dense one the first three and initial
weights. It must also prune globally with an exponential schedule and rewind to the initialisation, both scorers of a
stack must score in every round, rounds must be `ROUNDS` and train to their end, and its
training must be by `RECIPE`."""
RECIPE = {"optimizer": "sgd", "learning_rate": 0.1}
"""The source's, as far as a results frame says; it is ours by default, and older records do not say."""


def published(name: str) -> pd.DataFrame:
    """Published figures, one row each, with `citation`, `runs` (how many the mean is of) and `settings` of the source.

    `composite_pruning_mnist` and `saw_dense_training` (LeNet-300-100 on MNIST; Lutz & Manai 2022) and
    `cifar10_pruning_at_init` (Tanaka et al. 2020) have the columns of `COLUMNS`:

    - `label` as `apply.method.Method.label` writes it, None for dense networks (density 1); accuracies as shares.
    - The source's stacks name first the scorer whose scores stand in for the weights: our `on`; its second is our
      `scorer`. Its GraSP and magnitude is |GraSP|: `magnitude on grasp every round, UMS 100`.
    - Scores as weights from SNIP: `initial` is saw and `initial_scorer` snip; `kaiming_normal` is `given`.
    - `starred`: the source marks a significant difference, without correction for multiple comparison (table `saw`:
      from the same scorer on standard weights; `combined`: from SNIP on standard weights). Missing elsewhere.

    The table `combined` gives SNIP on standard weights in UMS the very numbers that `stacked` and `saw` give SNIP as
    published, which is USS: one of the two is a slip of the source. Both are kept, each under its own label.

    `meta_model_metrics` (predictors of the score of SynFlow in IMS, Lutz & Manai 2022): table, family, r2_train,
    r2_test, mse_train, mse_test.

    `supermasks` (networks under a mask before training, Zhou et al. 2019; dense ones before and after, of a study):
    table, task, network (missing where the source's is not told), trained, test_accuracy, plus_minus.

    Raises:
        ValueError: unknown name.

    Examples:
        >>> figures = published("saw_dense_training")
        >>> figures[["initial", "steps", "test_accuracy"]].head(2)
          initial         steps  test_accuracy
        0   given  12819.333333       0.982350
        1     saw  12037.666667       0.978633
    """
    import pandas as pd

    lookup(PUBLISHED, "published figures", name)
    facts, sources = (pd.read_csv(FOLDER / f"{file}.csv", dtype={"table": "str"}) for file in (name, "sources"))
    facts = facts.merge(sources, on="source", how="left", validate="many_to_one")
    facts["runs"] = facts["runs"].astype("Int64")
    if name == "meta_model_metrics":
        facts["family"] = facts["predictor"].map(FAMILIES)
        first = ["table", "family", "r2_train", "r2_test", "mse_train", "mse_test"]
        return facts[[*first, "citation", "runs", "settings"]]
    if name == "supermasks":
        facts = facts.assign(
            test_accuracy=(facts["test_accuracy_percent"] / 100).round(12),
            plus_minus=(facts["plus_minus_percent"] / 100).round(12),
        )
        first = ["table", "task", "network", "trained", "test_accuracy", "plus_minus"]
        return facts[[*first, "citation", "runs", "settings"]]
    # Divided as decimal text would be: 91.86 gives 0.9186.
    facts["test_accuracy"] = (facts["test_accuracy_percent"] / 100).round(12)
    dense = name == "saw_dense_training"
    if dense:
        facts = facts.assign(density=1.0, steps=facts["training_steps_to_early_stop"])
    elif name == "composite_pruning_mnist":
        facts["starred"] = facts["starred"].astype("boolean").mask(facts["table"] == "stacked")
    else:
        facts = facts.assign(density=1.0 / facts["compression_ratio"], regime="published")
        facts = facts.assign(first_scorer=facts["scorer"], second_scorer=None, initial_weights="kaiming_normal")
    if "network" not in facts:
        facts = facts.assign(network="lenet_300_100")
    facts["task"] = "cifar10" if name == "cifar10_pruning_at_init" else "mnist"
    told = ["initial_weights"] if dense else ["first_scorer", "second_scorer", "regime", "initial_weights"]
    given = facts[told].astype(object).where(facts[told].notna(), None).itertuples(index=False, name=None)
    methods = [(_initial if dense else _method)(*row) for row in given]
    described = pd.DataFrame(methods, index=facts.index, dtype=object)
    kept = facts.drop(columns=[name for name in described if name in facts])
    frame = pd.concat([kept, described], axis=1).reindex(columns=list(COLUMNS))
    text = pd.Series(["text"]).dtype
    return frame.astype(dict.fromkeys(TEXTS, text) | {"starred": "boolean", "steps": "float64"})


def beside(frame: pd.DataFrame) -> pd.DataFrame:
    """The published accuracies that a frame of ours (`analysis.results.frame`) has runs for.

    Joined by settings rather than by label, so that ours may share its path of rounds between densities (`towards`).

    Returns:
        The columns of `published`, with `label` being ours; in the order of the tables.

    Examples:
        >>> import pandas as pd
        >>> ours = {"task": "mnist", "network": "lenet_300_100", "density": 1.0, "label": "dense", "initial": "given"}
        >>> ours |= {"restack": False, "schedule": "exponential", "scope": "global", "rewind_step": 0}
        >>> found = beside(pd.DataFrame([ours | dict.fromkeys(("scorer", "on", "regime", "initial_scorer"))]))
        >>> found[["label", "test_accuracy", "runs"]].values.tolist()
        [['dense', 0.98235, 3]]
    """
    import pandas as pd

    figures = pd.concat([published(name) for name in ACCURACIES], ignore_index=True).drop(columns="label")
    stacked = frame["on"].isna() | frame["restack"].fillna(value=False).astype(bool)
    plain = stacked & (frame["schedule"] == "exponential") & (frame["scope"] == "global") & (frame["rewind_step"] == 0)
    for name, usual in (("same_sign", False), ("kept_weights", "rewound")):  # runs of earlier releases lack them
        plain &= frame[name].fillna(usual) == usual if name in frame else True
    if "rounds" in frame:
        plain &= (
            frame["rounds"].isna() | ~frame["regime"].isin(ROUNDS) | (frame["rounds"] == frame["regime"].map(ROUNDS))
        )
    if "round_steps" in frame:
        plain &= frame["round_steps"].isna()
    dense = frame["density"] == 1.0
    for name, value in RECIPE.items():
        if name in frame:
            frame = frame[frame[name].isna() | (frame[name] == value)]
    ours = frame[(dense | plain)[frame.index]][[*SETTINGS, "label"]].astype({"density": "float64"})
    ours.loc[ours["density"] == 1.0, ["scorer", "on", "regime"]] = None
    ours = ours.drop_duplicates()
    for part in (figures, ours):
        # Missing is a setting too; a merge by missing values would depend on their kind.
        part["key"] = part[list(SETTINGS)].astype(object).where(part[list(SETTINGS)].notna(), "").agg(tuple, axis=1)
    found = figures.reset_index().merge(ours[["key", "label"]], on="key").sort_values(["index", "label"])
    return found[list(COLUMNS)].reset_index(drop=True)


@lru_cache(maxsize=256)  # a method looks for what other packages add to the families, and sixty of them come often
def _method(first: str, second: str | None, regime: str, weights: str) -> dict[str, Any]:
    from scratchcard.apply.method import Method

    scorer, on = (first, None) if second is None else (second, first)
    regime = REGIMES[scorer] if regime == "published" else regime
    # Both scorers of a stack score in every round: only so do the source's figures make sense (docs/reproduction.md).
    method = Method(scorer, on=on, regime=regime, restack=on is not None, **_initial(weights))
    described = {"label": method.label, "scorer": scorer, "on": on, "regime": method.make_regime().name}
    return described | {"initial": method.initial, "initial_scorer": method.initial_scorer}


def _initial(weights: str) -> dict[str, Any]:
    """The source's name of initial weights as ours; its scores as weights lie in [-1, 1], our `saw`."""
    if weights.startswith("saw_"):
        return {"initial": "saw", "initial_scorer": weights.removeprefix("saw_")}
    return {"initial": INITIAL[weights], "initial_scorer": None}
