"""The example for Flyte 1: five Ray tasks in a row, all on one warm cluster, which hands their tables on.

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
from pool.flyte import Pooled, Resident

WARM = Pooled(
    RayJobConfig(
        head_node_config=HeadNodeConfig(ray_start_params={"num-cpus": "2"}),
        # One machine is enough for this: the head does the work.
        worker_node_config=[WorkerNodeConfig(group_name="workers", replicas=0)],
    )
)


@task(task_config=WARM)
def load() -> Resident[pd.DataFrame]:
    """Load the images and check them."""
    return Resident(tables.load())


@task(task_config=WARM)
def features(images: Resident[pd.DataFrame]) -> Resident[pd.DataFrame]:
    """Add what a person would look at."""
    return Resident(tables.features(images.get()))


@task(task_config=WARM)
def train(table: Resident[pd.DataFrame], folds: int, seed: int) -> Resident[pd.DataFrame]:
    """Fit every model on every fold, in parallel."""
    return Resident(models.cross_validate(table.get(), folds, seed))


@task(task_config=WARM)
def evaluate(
    table: Resident[pd.DataFrame], scores: Resident[pd.DataFrame], seed: int
) -> tuple[Resident[pd.DataFrame], FlyteFile]:
    """Try the best models on unseen images; keep the best one."""
    model = Path(current_context().working_directory, "model.joblib")
    predictions = models.evaluate(table.get(), scores.get(), seed, model)
    return Resident(predictions), FlyteFile(str(model))


@task(task_config=WARM)
def report(scores: Resident[pd.DataFrame], predictions: Resident[pd.DataFrame], seed: int) -> FlyteFile:
    """Write the result down."""
    path = Path(current_context().working_directory, "report.md")
    path.write_text(tables.report(scores.get(), predictions.get(), seed))
    return FlyteFile(str(path))


@workflow
def pipeline(folds: int = 3, seed: int = 7) -> FlyteFile:
    """Find the model that reads handwritten digits best; return the report."""
    table = features(images=load())
    scores = train(table=table, folds=folds, seed=seed)
    predictions, _ = evaluate(table=table, scores=scores, seed=seed)
    return report(scores=scores, predictions=predictions, seed=seed)
