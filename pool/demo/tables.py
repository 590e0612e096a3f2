"""The tables of the example pipelines: images of handwritten digits, what a person would look at, and the report.

Nothing of Flyte is imported here, and scikit-learn only where it is needed. Ray's workers import the modules of the
functions that they run, so this keeps each of them seconds faster to start.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import ray

SIDE = 8
"""Width and height of an image in pixels."""


# --- load ----------------------------------------------------------------------------------------------------------


@ray.remote
def checked(part: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose pixels are all within 0 to 16 and not all blank."""
    pixels = part.drop(columns="digit")
    good = pixels.ge(0).all(axis=1) & pixels.le(16).all(axis=1) & pixels.sum(axis=1).gt(0)
    return part[good]


def load() -> pd.DataFrame:
    """Return 1,797 images, a row each: 64 pixels and the column ``digit``; checked in parallel."""
    from sklearn.datasets import load_digits

    data = load_digits(as_frame=True)
    frame = data.data.assign(digit=data.target)
    return _in_parts(checked, frame).drop_duplicates(ignore_index=True)


# --- features ------------------------------------------------------------------------------------------------------


@ray.remote
def with_features(part: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with 4 kinds of features added: ink per row and column, mirror symmetry, edges."""
    images = part.drop(columns="digit").to_numpy().reshape(-1, SIDE, SIDE)
    columns: dict[str, Any] = {}
    for i in range(SIDE):
        columns[f"row_{i}"] = images[:, i, :].sum(axis=1)
        columns[f"column_{i}"] = images[:, :, i].sum(axis=1)
    columns["mirror"] = np.abs(images - images[:, :, ::-1]).sum(axis=(1, 2))
    columns["flip"] = np.abs(images - images[:, ::-1, :]).sum(axis=(1, 2))
    columns["edges_down"] = np.abs(np.diff(images, axis=1)).sum(axis=(1, 2))
    columns["edges_across"] = np.abs(np.diff(images, axis=2)).sum(axis=(1, 2))
    return part.assign(**columns)


def features(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with the features added, computed in parallel."""
    return _in_parts(with_features, frame)


def _in_parts(function: Any, frame: pd.DataFrame, parts: int = 4) -> pd.DataFrame:
    """Apply a remote function to parts of a frame and put the results together."""
    bounds = np.linspace(0, len(frame), parts + 1, dtype=int)
    pieces = [frame.iloc[low:high] for low, high in pairwise(bounds)]
    done: list[pd.DataFrame] = ray.get([function.remote(piece) for piece in pieces])
    return pd.concat(done, ignore_index=True)


# --- report --------------------------------------------------------------------------------------------------------


@ray.remote
def resampled(predictions: pd.DataFrame, rounds: int, seed: int) -> list[list[float]]:
    """Return the accuracy of each model in `rounds` samples of the rows, drawn with replacement."""
    random = np.random.default_rng(seed)
    right = predictions.drop(columns="digit").eq(predictions.digit, axis=0).to_numpy()
    return [list(right[random.integers(0, len(right), len(right))].mean(axis=0)) for _ in range(rounds)]


def report(scores: pd.DataFrame, predictions: pd.DataFrame, seed: int, rounds: int = 400) -> str:
    """Return the result in Markdown, with confidence intervals from samples drawn in parallel."""
    from sklearn.metrics import accuracy_score, f1_score

    shared = ray.put(predictions)
    parts = ray.get([resampled.remote(shared, rounds // 4, seed + i) for i in range(4)])
    samples = np.array([sample for part in parts for sample in part])
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    mean = scores.groupby("model").agg(
        accuracy=("accuracy", "mean"), spread=("accuracy", "std"), fit_s=("fit_s", "mean")
    )
    lines = [
        "# Which model reads handwritten digits best?",
        "",
        f"Cross validation, {scores.fold.nunique()} folds:",
        "",
    ]
    lines += ["| model | accuracy | spread | fit |", "|---|---|---|---|"]
    for name, row in mean.sort_values("accuracy", ascending=False).iterrows():
        lines.append(f"| {name} | {row.accuracy:.4f} | {row.spread:.4f} | {row.fit_s:.2f} s |")
    lines += ["", f"The two best on {len(predictions)} images that none of them has seen:", ""]
    lines += ["| model | accuracy | 95 % interval | macro F1 |", "|---|---|---|---|"]
    for i, name in enumerate(predictions.columns.drop("digit")):
        accuracy = accuracy_score(predictions.digit, predictions[name])
        f1 = f1_score(predictions.digit, predictions[name], average="macro")
        lines.append(f"| {name} | {accuracy:.4f} | {low[i]:.4f} to {high[i]:.4f} | {f1:.4f} |")
    return "\n".join(lines) + "\n"
