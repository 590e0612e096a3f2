"""A cluster key, as a request says it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pool.wire.base import Count, Quantity, Request, Text


class NodeSpec(Request):
    """Resources and rights of one node."""

    cpu: Quantity = Field(1, description="Logical CPUs: 2, 0.5 or 500m.")
    memory: Quantity = Field(0, description="Bytes or 4Gi; 0 leaves it to the backend.")
    object_store_memory: Quantity = Field(0, description="Bytes or 1Gi; 0 leaves it to the backend.")
    gpu: Count = Field(0, description="Whole GPUs.")
    accelerator: Text = Field("", description="Accelerator type, empty for any.")
    custom: dict[Text, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="Custom Ray resources."
    )
    start_params: dict[Text, Text] = Field(default_factory=dict, description="Parameters of `ray start`.")
    pod: dict[str, Any] = Field(
        default_factory=dict, description="Pod template, and whatever else fixes what the node may do and see."
    )


class WorkerSpec(NodeSpec):
    """A group of equal worker nodes."""

    name: Text = Field("workers", description="Name of the group.")
    replicas: Count = 1
    min_replicas: Count | None = Field(None, description="With autoscaling; `replicas` if not given.")
    max_replicas: Count | None = Field(None, description="With autoscaling; `replicas` if not given.")


class ShapeSpec(Request):
    """All that is fixed when a cluster is created."""

    head: NodeSpec = Field(default_factory=NodeSpec)
    workers: list[WorkerSpec] = Field(default_factory=list, max_length=64)
    autoscaling: bool = False
    autoscaler_options: dict[str, Any] = Field(default_factory=dict)


class KeySpec(Request):
    """What two leases must agree on to be served by the same cluster."""

    image: Text = Field(description="Container image, or the name of the local environment.", examples=["local"])
    tenant: Text = Field(description="Isolation domain: project/domain.", examples=["flytesnacks/development"])
    shape: ShapeSpec = Field(default_factory=ShapeSpec)
    cluster_type: Text = "ray"
