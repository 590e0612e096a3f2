"""What is sent to Kubernetes for a key."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from pool.backends.kuberay import spec
from pool.backends.kuberay.merge import merged
from pool.backends.kuberay.options import KuberayOptions
from pool.core.errors import InvalidKey
from pool.core.key import ClusterKey, key_from

STORE = "0123456789abcdef"
IMAGE = "rayproject/ray:2.60.0-py311"


def key(image: str = IMAGE, tenant: str = "ml/production", **shape: Any) -> ClusterKey:
    return key_from({"image": image, "tenant": tenant, "shape": shape})


def render(asked: ClusterKey, **options: Any) -> dict[str, Any]:
    return spec.ray_cluster(STORE, f"c-{asked.digest}-1", asked, KuberayOptions(**options))


def ray(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template["template"]["spec"]["containers"][0]
    return found


def test_a_cluster_of_a_head_and_two_workers_in_full() -> None:
    asked = key(head={"cpu": 1, "memory": "2Gi"}, workers=[{"name": "w", "cpu": "500m", "replicas": 2}])
    manifest = render(asked, image_pull_policy="IfNotPresent")
    name = f"wp-01234567-{asked.digest}-1"
    marks = {
        "warmpool/store": STORE,
        "warmpool/cluster": f"c-{asked.digest}-1",
        "warmpool/pool": asked.digest,
        "warmpool/tenant": "ml.production",
    }
    env = yaml.safe_load(f"""
    - {{name: RAY_AUTH_MODE, value: token}}
    - {{name: RAY_AUTH_TOKEN, valueFrom: {{secretKeyRef: {{name: {name}, key: auth_token}}}}}}
    - {{name: RAY_USAGE_STATS_ENABLED, value: '0'}}
    - {{name: RAY_RUNTIME_ENV_WORKING_DIR_CACHE_SIZE_GB, value: '-1000'}}
    - {{name: RAY_RUNTIME_ENV_PY_MODULES_CACHE_SIZE_GB, value: '-1000'}}
    - {{name: WARMPOOL_RESIDENT_SHARE, value: '0.5'}}
    """)
    expected = yaml.safe_load(f"""
    apiVersion: ray.io/v1
    kind: RayCluster
    metadata: {{name: {name}, namespace: default, annotations: {{warmpool/tenant: ml/production}}}}
    spec:
      rayVersion: 2.60.0
      authOptions: {{mode: token, secretName: {name}}}
      headGroupSpec:
        rayStartParams: {{dashboard-host: 0.0.0.0, num-cpus: '1', num-gpus: '0', memory: '2147483648'}}
        template:
          metadata: {{}}
          spec:
            restartPolicy: Never
            containers:
            - name: ray-head
              image: {IMAGE}
              imagePullPolicy: IfNotPresent
              resources:
                limits: {{cpu: 1000m, memory: '2147483648'}}
                requests: {{cpu: 1000m, memory: '2147483648'}}
              terminationMessagePolicy: FallbackToLogsOnError
              readinessProbe:
                httpGet: {{path: /api/gcs_healthz, port: 8265}}
                initialDelaySeconds: 1
                periodSeconds: 2
                timeoutSeconds: 4
                failureThreshold: 8
              livenessProbe:
                httpGet: {{path: /api/local_raylet_healthz, port: 52365}}
                initialDelaySeconds: 30
                periodSeconds: 5
                timeoutSeconds: 5
                failureThreshold: 120
              ports:
              - {{name: gcs-server, containerPort: 6379}}
              - {{name: dashboard, containerPort: 8265}}
              - {{name: client, containerPort: 10001}}
              - {{name: metrics, containerPort: 8080}}
      workerGroupSpecs:
      - groupName: w
        replicas: 2
        minReplicas: 2
        maxReplicas: 2
        rayStartParams: {{num-cpus: '1', num-gpus: '0'}}
        template:
          metadata: {{}}
          spec:
            restartPolicy: Never
            containers:
            - name: ray-worker
              image: {IMAGE}
              imagePullPolicy: IfNotPresent
              resources: {{limits: {{cpu: 500m}}, requests: {{cpu: 500m}}}}
              terminationMessagePolicy: FallbackToLogsOnError
              readinessProbe:
                httpGet: {{path: /api/local_raylet_healthz, port: 52365}}
                initialDelaySeconds: 1
                periodSeconds: 2
                timeoutSeconds: 4
                failureThreshold: 8
              livenessProbe:
                httpGet: {{path: /api/local_raylet_healthz, port: 52365}}
                initialDelaySeconds: 30
                periodSeconds: 5
                timeoutSeconds: 5
                failureThreshold: 120
    """)
    expected["metadata"]["labels"] = marks
    for group in (expected["spec"]["headGroupSpec"], *expected["spec"]["workerGroupSpecs"]):
        ray(group)["env"] = env
    head_env = [
        {"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "false"},
        {"name": "TIMEOUT_FOR_SPECIFIC_SERVER_S", "value": "25"},
        {"name": "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "value": "60"},
    ]
    ray(expected["spec"]["headGroupSpec"])["env"] = [*env, *head_env]
    for group in (expected["spec"]["headGroupSpec"], *expected["spec"]["workerGroupSpecs"]):
        group["template"]["metadata"]["labels"] = marks
    assert manifest == expected


def test_every_node_is_told_the_pools_share_for_resident_data() -> None:
    asked = key(workers=[{"name": "w", "replicas": 1}])
    found = spec.ray_cluster(STORE, "c-1-1", asked, KuberayOptions(), 0.25)["spec"]
    for group in (found["headGroupSpec"], *found["workerGroupSpecs"]):
        assert {"name": "WARMPOOL_RESIDENT_SHARE", "value": "0.25"} in ray(group)["env"]


def test_the_token_is_in_a_secret_under_the_clusters_own_name() -> None:
    asked = key()
    cluster = spec.ray_cluster(STORE, "c-1-1", asked, KuberayOptions())
    cluster["metadata"]["uid"] = "u-1"
    made = spec.secret(STORE, "c-1-1", asked, "the token", cluster)
    assert made["metadata"]["name"] == spec.name_of(STORE, "c-1-1") == cluster["metadata"]["name"]
    assert [(owner["kind"], owner["uid"]) for owner in made["metadata"]["ownerReferences"]] == [("RayCluster", "u-1")]
    assert base64.b64decode(made["data"]["auth_token"]) == b"the token"


def test_the_longest_name_fits() -> None:
    assert len(spec.name_of(STORE, f"c-{'f' * 12}-{10**9}")) <= spec.LONGEST_NAME


def test_a_name_that_is_too_long_for_kuberay_is_refused_before_anything_is_created() -> None:
    with pytest.raises(InvalidKey, match="longer than the 53 characters"):
        spec.ray_cluster(STORE, f"c-{'f' * 12}-{10**30}", key(), KuberayOptions())


def test_the_operators_template_lies_under_the_lease_and_both_under_what_the_daemon_needs() -> None:
    template = yaml.safe_load("""
    metadata: {labels: {team: core, warmpool/store: forged}}
    spec:
      headGroupSpec:
        serviceType: ClusterIP
        template:
          spec:
            nodeSelector: {disk: ssd}
            serviceAccountName: ray
            containers: [{name: ray-head, env: [{name: A, value: operator}, {name: B, value: operator}]}]
      workerGroupSpecs:
      - template: {spec: {nodeSelector: {disk: ssd}, tolerations: [{key: gpu, operator: Exists}]}}
      - {groupName: w, template: {spec: {nodeSelector: {zone: a}}}}
      - {groupName: other, template: {spec: {nodeSelector: {zone: b}}}}
    """)
    pod = {
        "primary_container_name": "main",
        "labels": {"mine": "yes"},
        "spec": {
            "containers": [
                {"name": "side", "image": "busybox"},
                {"name": "main", "env": [{"name": "A", "value": "lease"}, {"name": "RAY_AUTH_MODE", "value": "off"}]},
            ]
        },
    }
    manifest = render(key(head={"pod": pod}, workers=[{"name": "w"}]), template=template)
    assert manifest["metadata"]["labels"] | {"warmpool/store": STORE, "team": "core"} == manifest["metadata"]["labels"]
    head = manifest["spec"]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert head["template"]["metadata"]["labels"]["mine"] == "yes"
    assert head["template"]["spec"]["serviceAccountName"] == "ray"
    env = {item["name"]: item.get("value") for item in ray(head)["env"]}
    assert (env["A"], env["B"], env["RAY_AUTH_MODE"]) == ("lease", "operator", "token")
    assert [item["name"] for item in head["template"]["spec"]["containers"]] == ["ray-head", "side"]
    worker = manifest["spec"]["workerGroupSpecs"][0]["template"]["spec"]
    assert worker["nodeSelector"] == {"disk": "ssd", "zone": "a"}
    assert worker["tolerations"] == [{"key": "gpu", "operator": "Exists"}]


def test_all_that_a_pod_template_of_the_operators_may_say_is_kept_beside_what_the_lease_says() -> None:
    template = yaml.safe_load("""
    metadata: {annotations: {owner: core}}
    spec:
      headGroupSpec:
        template:
          metadata: {annotations: {scrape: "yes"}}
          spec:
            priorityClassName: batch
            imagePullSecrets: [{name: registry}]
            volumes: [{name: data, emptyDir: {}}, {name: both, emptyDir: {medium: Memory}}]
            containers: [{name: ray-head, volumeMounts: [{name: data, mountPath: /data}]}]
    """)
    mine = {"containers": [{"name": "ray", "volumeMounts": [{"name": "own", "mountPath": "/own"}]}]}
    volumes = [{"name": "own", "emptyDir": {}}, {"name": "both", "emptyDir": {"sizeLimit": "1Gi"}}]
    pod = {"annotations": {"mine": "yes"}, "spec": {**mine, "volumes": volumes, "imagePullSecrets": [{"name": "own"}]}}
    manifest = render(key(head={"pod": pod}), template=template)
    assert manifest["metadata"]["annotations"] == {"owner": "core", "warmpool/tenant": "ml/production"}
    head = manifest["spec"]["headGroupSpec"]["template"]
    assert head["metadata"]["annotations"] == {"scrape": "yes", "mine": "yes"}
    assert head["spec"]["priorityClassName"] == "batch"
    assert head["spec"]["imagePullSecrets"] == [{"name": "registry"}, {"name": "own"}]
    assert head["spec"]["volumes"] == [
        {"name": "data", "emptyDir": {}},
        {"name": "both", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "own", "emptyDir": {}},
    ]
    assert [mount["mountPath"] for mount in head["spec"]["containers"][0]["volumeMounts"]] == ["/data", "/own"]


def test_requests_below_limits_and_other_resources_are_the_containers() -> None:
    pod = {"requests": {"cpu": "100m"}, "limits": {"ephemeral-storage": "1Gi", "shm": "1Gi"}}
    head = render(key(head={"cpu": 1, "gpu": 2, "accelerator": "A100", "pod": pod}))["spec"]["headGroupSpec"]
    limits = {"cpu": "1000m", "nvidia.com/gpu": "2", "ephemeral-storage": "1Gi"}
    assert ray(head)["resources"] == {"limits": limits, "requests": {**limits, "cpu": "100m"}}
    assert head["rayStartParams"]["resources"] == """'{"accelerator_type:A100": 1.0}'"""


def test_an_autoscaled_group_has_its_bounds_and_the_autoscaler_the_token() -> None:
    group = {"name": "w", "replicas": 1, "min_replicas": 0, "max_replicas": 3}
    made = render(key(workers=[group], autoscaling=True, autoscaler_options={"idleTimeoutSeconds": 30}))["spec"]
    assert made["enableInTreeAutoscaling"] is True
    assert made["autoscalerOptions"]["idleTimeoutSeconds"] == 30
    assert [item["name"] for item in made["autoscalerOptions"]["env"]][:2] == ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN"]
    assert [made["workerGroupSpecs"][0][name] for name in ("minReplicas", "replicas", "maxReplicas")] == [0, 1, 3]


def test_a_ray_too_old_for_tokens_is_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidKey, match=r"has Ray 2\.51\.1, which knows no token authentication"):
        spec.check(key(image="rayproject/ray:2.51.1-py311"), KuberayOptions())


def test_an_image_without_a_version_takes_the_one_of_the_options() -> None:
    assert render(key(image="registry:5000/team/trainer"), ray_version="2.55.0")["spec"]["rayVersion"] == "2.55.0"


@pytest.mark.parametrize(
    ("shape", "said"),
    [({"workers": [{"name": "A_b"}]}, "workers.A_b"), ({"head": {"pod": {"name": "gpu-template"}}}, "gpu-template")],
)
def test_what_kuberay_can_never_make_is_refused(shape: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidKey, match=said):
        spec.check(key(**shape), KuberayOptions())


def test_a_tenant_has_the_namespace_of_the_template() -> None:
    assert spec.namespace_of("ml/production", KuberayOptions(namespace="{project}-{domain}")) == "ml-production"
    with pytest.raises(InvalidKey, match="Ünsinn"):
        spec.namespace_of("Ünsinn/x", KuberayOptions(namespace="{tenant}"))


def test_a_probe_of_the_operators_takes_the_place_of_the_usual_one() -> None:
    own = {"name": "ray-head", "livenessProbe": {"exec": {"command": ["well"]}, "periodSeconds": 60}}
    template = {"spec": {"headGroupSpec": {"template": {"spec": {"containers": [own]}}}}}
    manifest = render(key(head={}, workers=[{"name": "w"}]), template=template)
    probe = ray(manifest["spec"]["headGroupSpec"])["livenessProbe"]
    assert (probe["exec"], probe["periodSeconds"]) == ({"command": ["well"]}, 60)
    assert "httpGet" not in probe
    assert "httpGet" in ray(manifest["spec"]["workerGroupSpecs"][0])["livenessProbe"]


def test_a_value_takes_the_place_of_where_one_comes_from() -> None:
    pod = {"spec": {"containers": [{"name": "ray", "env": [{"name": "RAY_AUTH_TOKEN", "value": "mine"}]}]}}
    manifest = render(key(head={"pod": pod}))
    (token,) = (item for item in ray(manifest["spec"]["headGroupSpec"])["env"] if item["name"] == "RAY_AUTH_TOKEN")
    assert token.keys() == {"name", "valueFrom"}


def test_a_null_takes_away_and_a_list_of_unnamed_things_is_replaced() -> None:
    assert merged({"a": 1, "args": [1, 2]}, {"a": None, "args": [3]}) == {"args": [3]}
