"""The example for Flyte 2: five Ray tasks in a row, all on one warm cluster, which hands their tables on.

    flyte run --local pool/demo/workflow2.py pipeline

Without ``Pooled(...)`` each task would get, and wait for, a cluster of its own.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import flyte
import pandas as pd
from flyte.io import File
from flyteplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

from pool.demo import models, tables
from pool.flyte import Pooled, Resident

WARM = Pooled(
    RayJobConfig(
        head_node_config=HeadNodeConfig(ray_start_params={"num-cpus": "2"}),
        # One machine is enough for this: the head does the work.
        worker_node_config=[WorkerNodeConfig(group_name="workers", replicas=0)],
    )
)
on_ray = flyte.TaskEnvironment("digits-on-ray", plugin_config=WARM)
plain = flyte.TaskEnvironment("digits", depends_on=[on_ray])


@on_ray.task
def load() -> Resident[pd.DataFrame]:
    """Load the images and check them."""
    return Resident(tables.load())


@on_ray.task
def features(images: Resident[pd.DataFrame]) -> Resident[pd.DataFrame]:
    """Add what a person would look at."""
    return Resident(tables.features(images.get()))


@on_ray.task
def train(table: Resident[pd.DataFrame], folds: int, seed: int) -> Resident[pd.DataFrame]:
    """Fit every model on every fold, in parallel."""
    return Resident(models.cross_validate(table.get(), folds, seed))


@on_ray.task
def evaluate(
    table: Resident[pd.DataFrame], scores: Resident[pd.DataFrame], seed: int
) -> tuple[Resident[pd.DataFrame], File]:
    """Try the best models on unseen images; keep the best one."""
    with tempfile.TemporaryDirectory() as place:
        model = Path(place, "model.joblib")
        predictions = models.evaluate(table.get(), scores.get(), seed, model)
        return Resident(predictions), File.from_local_sync(str(model))


@on_ray.task
def report(scores: Resident[pd.DataFrame], predictions: Resident[pd.DataFrame], seed: int) -> File:
    """Write the result down."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "report.md")
        path.write_text(tables.report(scores.get(), predictions.get(), seed))
        return File.from_local_sync(str(path))


@plain.task
async def pipeline(folds: int = 3, seed: int = 7) -> File:
    """Find the model that reads handwritten digits best; return the report."""
    table = await features.aio(await load.aio())
    scores = await train.aio(table, folds, seed)
    predictions, _ = await evaluate.aio(table, scores, seed)
    return await report.aio(scores, predictions, seed)
