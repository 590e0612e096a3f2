"""The example for Flyte 1: five Ray tasks in a row, all on one warm cluster.

    pyflyte run pool/demo/workflow.py pipeline

Without ``Pooled(...)`` each task would get, and wait for, a cluster of its own.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from flytekit import current_context, task, workflow
from flytekit.types.file import FlyteFile
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

from pool.demo import models, tables
from pool.flyte import Pooled

WARM = Pooled(
    RayJobConfig(
        head_node_config=HeadNodeConfig(ray_start_params={"num-cpus": "2"}),
        # One machine is enough for this: the head does the work.
        worker_node_config=[WorkerNodeConfig(group_name="workers", replicas=0)],
    )
)


@task(task_config=WARM)
def load() -> pd.DataFrame:
    """Load the images and check them."""
    return tables.load()


@task(task_config=WARM)
def features(images: pd.DataFrame) -> pd.DataFrame:
    """Add what a person would look at."""
    return tables.features(images)


@task(task_config=WARM)
def train(table: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Fit every model on every fold, in parallel."""
    return models.cross_validate(table, folds, seed)


@task(task_config=WARM)
def evaluate(table: pd.DataFrame, scores: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, FlyteFile]:
    """Try the best models on unseen images; keep the best one."""
    model = Path(current_context().working_directory, "model.joblib")
    return models.evaluate(table, scores, seed, model), FlyteFile(str(model))


@task(task_config=WARM)
def report(scores: pd.DataFrame, predictions: pd.DataFrame, seed: int) -> FlyteFile:
    """Write the result down."""
    path = Path(current_context().working_directory, "report.md")
    path.write_text(tables.report(scores, predictions, seed))
    return FlyteFile(str(path))


@workflow
def pipeline(folds: int = 3, seed: int = 7) -> FlyteFile:
    """Find the model that reads handwritten digits best; return the report."""
    table = features(images=load())
    scores = train(table=table, folds=folds, seed=seed)
    predictions, _ = evaluate(table=table, scores=scores, seed=seed)
    return report(scores=scores, predictions=predictions, seed=seed)
