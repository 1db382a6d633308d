"""Train the event heads of the lite suite: logistic regressions on the feature maps of the image network.

    python -m recipes.lite.events --data DATA --cache features.npz --out weights
    python -m recipes.lite.events --data DATA --cache features.npz --evaluate

Neither the camera nor the collection must give the answer away. Ordinary images of the same sources have half of the
weight of the negatives, those of all other collections the other half, and every source counts by the square root of
its number of items. All images that have a colour also occur in grey, because the armed people are grey. Metrics come
from cross-validation over sources. The threshold of each head is chosen on its out-of-fold logits.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from recipes.lite.event_data import NORMAL, Items, read_items
from recipes.lite.event_words import WORDS, fit_words, read_texts
from var_plugin.config import settings
from var_plugin.encoders.lite.image_text import LiteImageEncoder
from var_plugin.encoders.weights import LITE

FOLDS, REPEATS = 6, 4
STRENGTH = 1e-3
"""Inverse strength of the regularisation, chosen by cross-validation among 3e-4, 1e-3 and 3e-3."""
MAX_FALSE_ALARMS = 0.01
"""Share of the ordinary images above the threshold, as a weighted mean over the collections."""
_RESAMPLES = 300


@dataclass(frozen=True)
class Head:
    """What a head learns."""

    positives: Mapping[str, tuple[str, ...]]
    """Labels per collection."""
    ignored: tuple[str, ...] = ()
    """Labels that are neither positive nor negative."""
    min_recall: float | None = None
    """If set, the threshold keeps this share of the positives instead of limiting the false alarms."""
    learns_grey: bool = True
    """Whether positives without colour are used."""
    learns_near: bool = True
    """Whether ordinary items of the same collections are negatives."""
    ordinary_scene: float | None = None
    """If set, the head also recognises scenes, and this is the logit of an ordinary one; see
    `EventHeads.lower_scenes`."""


HEADS = {
    # The head rejects scenes in which nobody could fight. Fights and calm scenes look the same; the detector tells them
    # apart by motion.
    "fighting": Head({"cctv_fights": ("fight",)}, min_recall=0.98, learns_near=False),
    "fire": Head({"fire_cctv": ("fire", "fire_smoke"), "fire_pictures": ("fire",)}, ("smoke",), learns_grey=False),
    "smoke": Head({"fire_cctv": ("smoke", "fire_smoke")}, ("fire",)),
    "traffic accident": Head({"accident_cctv": ("accident",)}, ordinary_scene=-2.5),
    "weapon": Head({"weapon_cctv": ("armed_person",)}, ("weapon",)),
}


SEARCH = {
    "kinds": list(WORDS),
    "text_only": ["traffic accident"],
    "text_length": 0.85,
    "image_length": 0.5,
    "even_logit": 3.5,
    "logit_scale": 1.25,
}
"""How vectors hold events, see `EventHeads.visible_events` and `described_events`. The numbers were chosen on the
validation half of the sources, among 0.5 to 0.85, 0.5 and 0.7, 2 to 4, and 1 to 1.5. Sentences do not find accidents:
the head recognises the scene of an accident more than the accident."""


@dataclass(frozen=True)
class Task:
    """The items of a head: positives, ordinary items of the same collections, and items of other collections."""

    positive: NDArray[np.bool_]
    near: NDArray[np.bool_]
    far: NDArray[np.bool_]

    @property
    def used(self) -> NDArray[np.bool_]:
        """Items that train the head."""
        return self.positive | self.near | self.far


@dataclass(frozen=True)
class Line:
    """A logit: weight · features + bias."""

    weight: NDArray[np.float64]
    bias: float

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return logits (n,) of features (n, 2560)."""
        return np.asarray(features @ self.weight + self.bias)

    def calibrated(self, slope: float, offset: float) -> Line:
        """Return the line whose logits are `slope * logit + offset`."""
        return Line(self.weight * slope, self.bias * slope + offset)


def select(items: Items, head: Head) -> Task:
    """Return the items of a head."""
    own = np.isin(items.collections, list(head.positives))
    positive = np.zeros(len(items), bool)
    for collection, labels in head.positives.items():
        positive |= (items.collections == collection) & np.isin(items.labels, labels)
    grey_of_colour = (items.colours == "grey") & ~np.isin(items.collections, ["weapon_cctv"])
    lost = grey_of_colour & positive if not head.learns_grey else np.zeros(len(items), bool)
    near = own & (items.labels == NORMAL) & head.learns_near
    far = ~own & ~np.isin(items.labels, head.ignored)
    return Task(positive & ~lost, near, far)


def weigh(items: Items, task: Task) -> NDArray[np.float64]:
    """Return the weight of each item. Positives weigh as much as negatives in total."""
    weights = np.zeros(len(items))
    for group, share in ((task.positive, 2.0), (task.near, 1.0), (task.far, 1.0)):
        names = np.unique(items.collections[group])
        for name in names:
            rows = group & (items.collections == name)
            _, inverse, counts = np.unique(items.sources[rows], return_inverse=True, return_counts=True)
            part = 1 / np.sqrt(counts[inverse])
            weights[rows] = share / len(names) * part / part.sum()
    return weights


def fit(items: Items, task: Task, rows: NDArray[np.bool_]) -> Line:
    """Fit a head on some of the items."""
    from sklearn.linear_model import LogisticRegression

    weights = weigh(items, Task(task.positive & rows, task.near & rows, task.far & rows))[rows & task.used]
    features = items.features[rows & task.used]
    mean = np.average(features, axis=0, weights=weights)
    spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights))
    spread += 0.1 * spread.mean()
    model = LogisticRegression(C=STRENGTH, max_iter=500)
    model.fit((features - mean) / spread, task.positive[rows & task.used], sample_weight=weights / weights.mean())
    weight = model.coef_[0] / spread
    return Line(weight, float(model.intercept_[0] - weight @ mean))


def cross_validate(items: Items, task: Task) -> NDArray[np.float64]:
    """Return the mean logit (n,) of every item, from heads that have not seen its source."""
    sources, source_of = np.unique(items.sources, return_inverse=True)
    logits = np.zeros(len(items))
    for repeat in range(REPEATS):
        folds = (np.random.default_rng(repeat).permutation(len(sources)) % FOLDS)[source_of]
        for fold in range(FOLDS):
            logits[folds == fold] += fit(items, task, folds != fold)(items.features[folds == fold]) / REPEATS
    return logits


def calibrate(items: Items, task: Task, head: Head, logits: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and offset that move the threshold of out-of-fold logits to 0 and make them log odds."""
    from sklearn.linear_model import LogisticRegression

    if head.min_recall is not None:
        threshold = float(np.quantile(logits[task.positive], 1 - head.min_recall))
    else:
        negative = task.near | task.far
        weights = weigh(items, task)[negative]
        order = np.argsort(logits[negative])[::-1]
        share = np.cumsum(weights[order]) / weights.sum()
        threshold = float(logits[negative][order][np.searchsorted(share, MAX_FALSE_ALARMS, "right")])
    model = LogisticRegression(C=1e3)
    model.fit(logits[task.used, None], task.positive[task.used], sample_weight=weigh(items, task)[task.used] * 1e3)
    slope = float(model.coef_[0, 0])
    return slope, -slope * threshold


def report(name: str, items: Items, task: Task, logits: NDArray[np.float64]) -> None:
    """Print the metrics of a head from calibrated out-of-fold logits."""
    original = (items.colours == "colour") | (items.collections == "weapon_cctv")
    for collection in np.unique(items.collections[task.positive]):
        positive = task.positive & original & (items.collections == collection)
        near = original & (items.collections == collection) & (items.labels == NORMAL)
        everywhere = (task.near | task.far) & original
        cells = (
            f"{name}: {collection}",
            f"{positive.sum()}",
            f"{near.sum()}",
            f"{len(np.unique(items.sources[positive | near]))}",
            _auc_with_interval(items, positive, near, logits),
            _auc_with_interval(items, positive, everywhere, logits),
            _within(items, positive, near, logits),
            f"{np.mean(logits[positive] > 0):.0%}",
            f"{np.mean(logits[near] > 0):.1%}",
            f"{np.mean(logits[task.far & original] > 0):.2%}",
        )
        print(f"| {' | '.join(cells)} |")


def _auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else float("nan")


def _auc_with_interval(
    items: Items, positive: NDArray[np.bool_], negative: NDArray[np.bool_], logits: NDArray[np.float64]
) -> str:
    rows = np.flatnonzero(positive | negative)
    sources = items.sources[rows]
    groups = [rows[sources == source] for source in np.unique(sources)]
    random, values = np.random.default_rng(0), []
    for _ in range(_RESAMPLES):
        sample = np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))])
        values.append(_auc(positive[sample], logits[sample]))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return f"{_auc(positive[rows], logits[rows]):.3f} ({low:.2f} to {high:.2f})"


def _within(items: Items, positive: NDArray[np.bool_], near: NDArray[np.bool_], logits: NDArray[np.float64]) -> str:
    """Return the mean AUC within the sources that have both classes, and their number."""
    values = []
    for source in np.unique(items.sources[positive]):
        rows = (positive | near) & (items.sources == source)
        if near[rows].any():
            values.append(_auc(positive[rows], logits[rows]))
    return f"{np.mean(values):.2f} ({len(values)})" if values else "–"


def main() -> None:
    """Train the heads and write them, or print the table of the cross-validation only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--evaluate", action="store_true", help="print the table only")
    parser.add_argument("--half", choices=("validation", "test"), help="use one half of the sources")
    options = parser.parse_args()
    if not options.evaluate and options.out is None:
        parser.error("--out or --evaluate is required")
    words = None if options.evaluate else fit_words(read_texts(options.data))
    items = read_items(options.data, LiteImageEncoder(LITE, settings().cache), options.cache)
    items = items.half(options.half) if options.half else items
    print(
        "| head: collection | items | ordinary | sources | AUC within the collection | AUC, ordinary items of all "
        "collections | mean AUC within a source (sources) | above the threshold | ordinary above | others above |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    lines = {}
    for name, head in HEADS.items():
        task = select(items, head)
        logits = cross_validate(items, task)
        slope, offset = calibrate(items, task, head, logits)
        report(name, items, task, slope * logits + offset)
        if not options.evaluate:
            lines[name] = fit(items, task, np.ones(len(items), bool)).calibrated(slope, offset)
    if words:
        save(lines, words, options.out)


def save(lines: Mapping[str, Line], words: tuple[NDArray[np.float64], NDArray[np.float64]], folder: Path) -> None:
    """Write `events.safetensors` and `events.json`.

    Args:
        lines: the head of each kind.
        words: weights and biases of the heads for sentences, from `fit_words`.
        folder: target folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "heads.weight": np.stack([line.weight for line in lines.values()]).astype(np.float16),
        "heads.bias": np.array([line.bias for line in lines.values()], np.float32),
        "words.weight": words[0].astype(np.float16),
        "words.bias": words[1].astype(np.float32),
    }
    save_file(tensors, folder / "events.safetensors")
    configuration = {
        "kinds": list(lines),
        "ordinary_scenes": {
            name: HEADS[name].ordinary_scene for name in lines if HEADS[name].ordinary_scene is not None
        },
        "search": SEARCH,
        "recipe": {"strength": STRENGTH, "max_false_alarms": MAX_FALSE_ALARMS, "folds": FOLDS, "repeats": REPEATS},
    }
    (folder / "events.json").write_text(json.dumps(configuration, indent=2) + "\n")


if __name__ == "__main__":
    main()
