"""The ``ray start`` commands of a shape, and the environment they run in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pool.backends.local.machine import MIN_OBJECT_STORE_BYTES
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import CLUSTER_MARK, TEMP_MARK
from pool.backends.local.trail import NodeStart, Ports, Trail
from pool.core.errors import InvalidKey
from pool.core.key import Node, Shape
from pool.inside.files import KEEP_NOTHING, UNPACKED
from pool.inside.owner import SHARE_VARIABLE

HONOURED = frozenset(
    (
        *("num-cpus", "num-gpus", "memory", "object-store-memory", "resources", "labels", "plasma-directory"),
        *("object-spilling-directory", "include-log-monitor", "enable-resource-isolation", "system-reserved-cpu"),
        *("system-reserved-memory", "cgroup-path"),
    )
)
"""Start parameters that a key may set; they win over what its resources say."""

WITHOUT_EFFECT = frozenset(
    ("block", "dashboard-host", "disable-usage-stats", "log-color", "log-style", "no-monitor", "verbose")
)
"""Start parameters that are accepted, because people write them, and change nothing on one machine."""

_INHERITED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH"),
        *("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
        *("NVIDIA_DRIVER_CAPABILITIES", "OMP_NUM_THREADS", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    )
)


def check_params(shape: Shape) -> None:
    """Refuse start parameters that a local cluster cannot have.

    Raises:
        InvalidKey: naming the parameter.
    """
    for where, node in (("head", shape.head), *((f"workers.{g.name}", g.node) for g in shape.workers)):
        for name, value in node.start_params:
            if name in HONOURED or name in WITHOUT_EFFECT:
                continue
            # That is the case anyway.
            if name == "include-dashboard" and value.lower() == "true":
                continue
            raise InvalidKey(
                f"shape.{where}.start_params: {name!r} cannot be set on a local cluster, whose ports, addresses and "
                f"directories are chosen for it; known are {', '.join(sorted(HONOURED))}."
            )


def ports_needed(shape: Shape) -> int:
    """Return how many ports a cluster of this shape takes: `Ports`, and six for each node."""
    return 4 + 6 * (1 + sum(group.replicas for group in shape.workers))


def starts(
    shape: Shape, ports: Ports, more_ports: Iterator[int], temp_dir: str, options: LocalOptions
) -> tuple[NodeStart, ...]:
    """Return how to start the nodes of a cluster, the head first.

    An autoscaled group gets the number of replicas that it begins with: nothing scales it on one machine.

    Args:
        shape: what is asked for.
        ports: the cluster's own.
        more_ports: yields six for each node.
        temp_dir: Ray's temporary directory.
        options: where Python is, and sizes by default.
    """
    head = [
        *_ray_start(shape.head, temp_dir, options),
        "--head",
        f"--port={ports.gcs}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={ports.dashboard}",
        f"--ray-client-server-port={ports.client}",
        # Nothing scales a local cluster: without the autoscaler's monitor a start takes two seconds less.
        "--no-monitor",
    ]
    found = [_with_ports("head", head, more_ports)]
    for group in shape.workers:
        for number in range(1, group.replicas + 1):
            command = [*_ray_start(group.node, temp_dir, options), f"--address=127.0.0.1:{ports.gcs}"]
            found.append(_with_ports(f"{group.name}-{number}", command, more_ports))
    return tuple(found)


def node_managers(trail: Trail) -> list[tuple[int, int]]:
    """Return for each node its cpus and the port of its node manager."""
    found = []
    for node in trail.nodes:
        options = dict(part.removeprefix("--").split("=", 1) for part in node.command if "=" in part)
        found.append((int(float(options["num-cpus"])), int(options["node-manager-port"])))
    return found


def _with_ports(name: str, command: list[str], ports: Iterator[int]) -> NodeStart:
    agent_port = next(ports)
    own = [
        f"--dashboard-agent-listen-port={agent_port}",
        f"--dashboard-agent-grpc-port={next(ports)}",
        f"--runtime-env-agent-port={next(ports)}",
        f"--node-manager-port={next(ports)}",
        f"--object-manager-port={next(ports)}",
        f"--metrics-export-port={next(ports)}",
        # The system gives each worker a port that is free: no range to collide in, and none to run out of.
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]
    return NodeStart(name, (*command, *own), agent_port)


def _ray_start(node: Node, temp_dir: str, options: LocalOptions) -> list[str]:
    custom: dict[str, float] = dict(node.custom)
    if node.accelerator:
        custom.setdefault(f"accelerator_type:{node.accelerator}", 1.0)
    params = {
        # Ray counts whole cpus: half a cpu becomes one, or nothing could run there.
        "num-cpus": str(-(-node.milli_cpu // 1000)),
        "num-gpus": str(node.gpu),
        "object-store-memory": str(_object_store_bytes(node, options)),
    }
    if node.memory_bytes:
        params["memory"] = str(node.memory_bytes)
    if custom:
        params["resources"] = json.dumps(custom)
    params |= {name: value for name, value in node.start_params if name in HONOURED}
    return [
        *(options.python, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", "--log-style=record", "--log-color=false", f"--temp-dir={temp_dir}"),
        *(f"--{name}={value}" for name, value in params.items()),
    ]


def _object_store_bytes(node: Node, options: LocalOptions) -> int:
    if node.object_store_bytes:
        return max(node.object_store_bytes, MIN_OBJECT_STORE_BYTES)
    if node.memory_bytes:
        # The share that Ray itself takes of a machine's memory.
        return max(node.memory_bytes * 3 // 10, MIN_OBJECT_STORE_BYTES)
    return max(options.object_store_bytes, MIN_OBJECT_STORE_BYTES)


def environment(inherited: Mapping[str, str], trail: Trail, token: Path, options: LocalOptions) -> dict[str, str]:
    """Return the whole environment of a cluster's processes.

    Only harmless variables of the daemon's are passed on: its secrets are none of the holders' business, a
    `RAY_ADDRESS` would lead them to another cluster, and `PYTHONDONTWRITEBYTECODE` makes each of Ray's twenty
    processes compile its modules again, which triples the time of a start.
    """
    passed = _INHERITED | set(options.inherit)
    env = {name: value for name, value in inherited.items() if name in passed or name.startswith("LC_")}
    # Jobs that run `python` get the Python that runs the cluster.
    env["PATH"] = os.pathsep.join([str(Path(options.python).parent), env.get("PATH", os.defpath)])
    if options.prestart_workers:
        env["RAY_enable_worker_prestart"] = "1"
    return env | {
        SHARE_VARIABLE: f"{trail.resident_share:g}",
        # What a killed task, and Ray itself, leave in it goes with the cluster.
        "TMPDIR": trail.tasks_temp_dir,
        **options.env,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        **dict.fromkeys(UNPACKED, KEEP_NOTHING),
        # By default every dashboard on the machine wants the same port for its own metrics.
        "DASHBOARD_METRIC_PORT": str(trail.ports.metrics),
        CLUSTER_MARK: f"{trail.store_id}/{trail.cluster_id}",
        TEMP_MARK: trail.temp_dir,
    }
