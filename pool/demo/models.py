"""The models of the example pipelines: which of them reads handwritten digits best?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import ray
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def models(seed: int) -> dict[str, ClassifierMixin]:
    """Return the candidates, unfitted, by name."""
    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300)),
        "linear discriminant": LinearDiscriminantAnalysis(),
        "nearest neighbours": KNeighborsClassifier(n_neighbors=3),
        "extra trees": ExtraTreesClassifier(n_estimators=60, random_state=seed),
        "support vectors": make_pipeline(StandardScaler(), SVC(C=5.0, random_state=seed)),
    }


# --- train ---------------------------------------------------------------------------------------------------------


@ray.remote
def fold_score(frame: pd.DataFrame, name: str, fold: int, folds: int, seed: int) -> dict[str, Any]:
    """Fit model `name` on all folds but one; return how well it reads that one."""
    train, test = list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(frame, frame.digit))[fold]
    x, y = _xy(frame)
    begun = time.perf_counter()
    model = models(seed)[name].fit(x[train], y[train])
    return {
        "model": name,
        "fold": fold,
        "accuracy": accuracy_score(y[test], model.predict(x[test])),
        "fit_s": time.perf_counter() - begun,
    }


def cross_validate(frame: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Return the accuracy of each model on each fold of the training rows; all of them are fitted in parallel."""
    shared = ray.put(split(frame, seed)[0])
    jobs = [fold_score.remote(shared, name, fold, folds, seed) for name in models(seed) for fold in range(folds)]
    return pd.DataFrame(ray.get(jobs))


# --- evaluate ------------------------------------------------------------------------------------------------------


@ray.remote
def fitted(frame: pd.DataFrame, name: str, seed: int) -> ClassifierMixin:
    """Return model `name`, fitted on all of `frame`."""
    return models(seed)[name].fit(*_xy(frame))


def evaluate(frame: pd.DataFrame, scores: pd.DataFrame, seed: int, model_file: Path) -> pd.DataFrame:
    """Fit the two best models in parallel; return what they read on rows that none of them has seen.

    Args:
        frame: images and features.
        scores: of the cross validation.
        seed: of the split.
        model_file: where the best model is written to.

    Returns:
        A row per unseen image: ``digit``, and a column of predictions per model, the best one first.
    """
    train, test = split(frame, seed)
    best = list(scores.groupby("model").accuracy.mean().nlargest(2).index)
    shared = ray.put(train)
    found = ray.get([fitted.remote(shared, name, seed) for name in best])
    joblib.dump(found[0], model_file)
    x, y = _xy(test)
    return pd.DataFrame({"digit": y, **{name: model.predict(x) for name, model in zip(best, found, strict=True)}})


def split(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (training rows, unseen rows): 80 and 20 of 100, each digit alike."""
    train, test = train_test_split(frame, test_size=0.2, stratify=frame.digit, random_state=seed)
    return train.reset_index(drop=True), test.reset_index(drop=True)


def _xy(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return frame.drop(columns="digit").to_numpy(), frame.digit.to_numpy()
