"""Every mistake in a configuration is named with its line, its column, its path and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.config import ConfigError, load, load_text


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "warmpool.yaml")
    return str(caught.value).splitlines()


def test_an_unknown_setting_is_named_with_the_nearest_right_one() -> None:
    assert problems("pools:\n  - name: a\n    idle_tll: 5\n") == [
        "warmpool.yaml:3:5: pools[0].idle_tll: unknown setting; did you mean idle_ttl?"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lisen: 1\n", "1:1: lisen: unknown setting; did you mean listen?"),
        ("logging: {}\n", "1:1: logging: unknown setting; did you mean log?"),
        ("listen: 8787\n", "1:9: listen: 8787 is not an address; write host:port such as 127.0.0.1:8787"),
        ("listen: '::1:80'\n", "1:9: listen: '::1:80' is not an address; write host:port such as 127.0.0.1:8787"),
        ("listen: localhost:70000\n", "1:9: listen: 'localhost:70000' is not an address"),
        ("max_starting: 0\n", "1:15: max_starting: should be greater than or equal to 1, not 0"),
        ("max_starting: yes\n", "1:15: max_starting: should be a valid integer, not true"),
        ("state_dir: 5\n", "1:12: state_dir: 5 is not a path"),
        ("reconcile_interval: 10 minutes\n", "1:21: reconcile_interval: '10 minutes' is not a duration; write seconds"),
        ("reconcile_interval: -1s\n", "1:21: reconcile_interval: '-1s' is not a duration"),
        ("reconcile_interval: 99999d\n", "1:21: reconcile_interval: 8639913600.0 is out of range"),
        ("ceiling: {cpu: lots}\n", "1:16: ceiling.cpu: 'lots' is not a quantity; write one such as 4, 0.5 or 500m"),
        ("ceiling: {memory: 4Gb}\n", "1:19: ceiling.memory: '4Gb' is not a quantity"),
        ("ceiling: {clusters: '3'}\n", "1:21: ceiling.clusters: should be a valid integer, not '3'"),
        ("ceiling: {clusters: -3}\n", "1:21: ceiling.clusters: should be greater than or equal to 0, not -3"),
        ("backend: {type: locl}\n", "1:17: backend.type: 'locl' is not known; did you mean local?"),
        ("backend: {}\n", "1:10: backend.type: is missing; write one of local, simulated"),
        ("log: {level: loud}\n", "1:14: log.level: 'loud' is not known; known are debug, info, warning, error"),
        ("tenants: [{match: a}]\n", "1:11: tenants[0]: says nothing of them; give ceiling, weight or both"),
        ("pools: {name: a}\n", "1:8: pools: should be a list, each entry after a '-'"),
        ("pools: [a]\n", "1:9: pools[0]: should hold settings such as idle_ttl,"),
        (
            "defaults: {grant_order: [locality]}\n",
            "1:25: defaults.grant_order: should name a policy, of most_recently_used, least_recently_used, "
            "soonest_to_retire, latest_to_retire, locality, or hold its type and options",
        ),
        (
            "defaults: {prewarm: 3}\n",
            "1:21: defaults.prewarm: should name a policy, of next_use, or hold its type and options, not 3",
        ),
        ("backend: kuberay\n", "1:10: backend: should hold settings such as type,"),
        (
            "defaults: {idle_cost_per_hour: 3}\n",
            "1:32: defaults.idle_cost_per_hour: should hold settings such as cpu, memory, gpu, not 3",
        ),
        ("pools: [{idle_ttl: 5}]\n", "1:9: pools[0].name: is missing"),
        ("pools: [{name: My Pool}]\n", "1:16: pools[0].name: is not a name; use small letters, digits, '-' and '_'"),
        ("flyte: {url: flyteadmin.flyte}\n", "1:14: flyte.url: is not a URL; write one such as http://flyteadmin.flyte"),
        (
            "backend: {type: kuberay, ray_version: '2.60'}\n",
            "1:39: backend.ray_version: is not a version; write one such as 2.52.0, not '2.60'",
        ),
        ("pools: [{name: a, max: 3}]\n", "1:19: pools[0].max: unknown setting; did you mean ceiling.clusters?"),
        ("pools: [{name: a, idle_jitter: 2}]\n", "1:32: pools[0].idle_jitter: should be less than or equal to 1"),
        (
            "pools: [{name: a, workers_idle_ttl: 2m}]\n",
            "1:37: pools[0].workers_idle_ttl: clusters of the backend local cannot let their workers go; take it out",
        ),
        (
            "pools: [{name: a, reclaim: {type: fixed_ttl, workers_ttl: 2m}}]\n",
            "1:59: pools[0].reclaim.workers_ttl: clusters of the backend local cannot let their workers go",
        ),
        ("pools: [{name: a, idle_jitter: .nan}]\n", "1:32: pools[0].idle_jitter: nan is not a number"),
        ("pools: [{name: a, max_lifetime: .inf}]\n", "1:33: pools[0].max_lifetime: inf is out of range"),
        ("pools: [{name: a, grant_order: most}]\n", "1:32: pools[0].grant_order: 'most' is not known; did you mean"),
        ("pools: [{name: a, reclaim: {type: fixed}}]\n", "1:35: pools[0].reclaim.type: 'fixed' is not known; did you"),
        ("pools: [{name: a, reclaim: {type: fixed_ttl, tl: 5}}]\n", "1:46: pools[0].reclaim.tl: unknown setting; did"),
        ("pools: [{name: a, reclaim: {type: fixed_ttl, jitter: 5.0}}]\n", "1:28: pools[0].reclaim: jitter is 5; it"),
        ("pools: [{name: a, sizing: {type: floor_and_buffer, buffer: -1}}]\n", "1:27: pools[0].sizing: buffer is -1"),
        ("pools: [{name: a, match: {shape: {gpu: lots of}}}]\n", "1:40: pools[0].match.shape.gpu: 'lots of' is not a"),
        ("pools: [{name: a, match: {shape: {gpu: '>x'}}}]\n", "1:40: pools[0].match.shape.gpu: 'x' is not a whole"),
        ("pools: [{name: a, match: {shape: {memory: '>4Zi'}}}]\n", "1:43: pools[0].match.shape.memory: '4Zi' is not"),
        ("pools: [{name: a, match: {image: []}}]\n", "1:34: pools[0].match.image: List should have at least 1 item"),
        ("pools: [{name: a, key: {image: a, tenant: b, shap: {}}}]\n", "1:46: pools[0].key.shap: unknown setting; did"),
        ("pools: [{name: a, key: {image: a}}]\n", "1:24: pools[0].key.tenant: is missing"),
        (
            "pools: [{name: a, schedule: [{from: 0 8 * *, for: 1h, min_idle: 1}]}]\n",
            "1:30: pools[0].schedule[0]: '0 8 * *' is not a cron time; write minute, hour",
        ),
        (
            "pools: [{name: a, schedule: [{from: 0 8 * * *, for: 1h, min_idle: 1, timezone: Mars}]}]\n",
            "1:30: pools[0].schedule[0]: 'Mars' is not a time zone; write one such as UTC or Europe/Berlin",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_at_its_place(text: str, problem: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(f"warmpool.yaml:{problem}"), found[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen: 0.0.0.0:80\n", "1:9: listen: 0.0.0.0:80 can be reached from other machines; set listen_publicly"),
        ("pools: [{name: a}, {name: b, match: {image: x}}]\n", "1:20: pools[1]: can never match: pools[0] takes every"),
        ("pools: [{name: a, match: {image: x}}, {name: a}]\n", "1:46: pools[1].name: 'a' is the name of pools[0] too"),
        ("pools: [{name: default, match: {image: x}}]\n", "1:16: pools[0].name: the pool `default` takes every other"),
        ("pools: [{name: a, match: {}, key: {image: a, tenant: b}}]\n", "1:35: pools[0].key: gives both match and key"),
        ("pools: [{name: a, key: {image: '-', tenant: b}}]\n", "1:24: pools[0].key.image: '-' is not an image"),
        (
            "pools: [{name: a, match: {image: '*'}}, {name: b, key: {image: x, tenant: b}}]\n",
            "1:56: pools[1].key: this key belongs to pools[0] (a), which stands before; move this pool up",
        ),
        ("pools: [{name: a, min_idle: 5, ceiling: {clusters: 3}}]\n", "1:29: pools[0].min_idle: 5 is more than the"),
        (
            "defaults: {ceiling: {clusters: 3}}\npools: [{name: a, buffer: 5}]\n",
            "2:27: pools[0].buffer: 5 is more than the pool's ceiling of 3 clusters",
        ),
        ("pools: [{name: a, idle_ttl: 5, reclaim: never_keep}]\n", "1:9: pools[0]: gives both reclaim and idle_ttl"),
    ],
)  # fmt: skip
def test_what_only_shows_in_the_whole_is_found_too(text: str, problem: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert found[0].startswith(f"warmpool.yaml:{problem}"), found[0]


def test_all_mistakes_are_told_at_once_in_the_order_of_their_lines() -> None:
    found = problems("pools:\n  - {nam: a}\nlisten: 3\nmax_starting: 0\nlisten: 4\n")
    assert [int(line.split(":")[1]) for line in found] == [2, 2, 4, 5, 5]


def test_a_key_that_stands_twice_is_a_mistake() -> None:
    assert problems("max_starting: 3\nmax_starting: 4\n") == [
        "warmpool.yaml:2:1: max_starting: stands twice, first in line 1"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "1:5: not valid YAML"),
        ("a:\n\tb: 1\n", "2:1: not valid YAML: found character '\\t' that cannot start any token"),
        ("- a\n", "1:1: the file must hold settings"),
        ("just text\n", "1:1: the file must hold settings"),
        ("a: 1\n---\nb: 2\n", "2:1: not valid YAML: but found another document"),
        ("x: \x07\n", "1:4: a character that YAML does not allow"),
        ("? [a]\n: 1\n", "1:3: not valid YAML: a key must be a plain word"),
        ("listen: !!python/name:os.system\n", "1:9: not valid YAML: could not determine a constructor"),
        ("pools: &a [*a]\n", "1:8: not valid YAML: an alias that contains itself"),
        ("x: 2026-99-99\n", "1:4: not valid YAML: month must be in 1..12"),
        ("[" * 5000, "1:1: the file is nested too deeply"),
    ],
)  # fmt: skip
def test_text_that_is_no_configuration_is_refused_in_words(text: str, problem: str) -> None:
    assert problems(text)[0].startswith(f"warmpool.yaml:{problem}")


def test_an_unquoted_star_is_explained() -> None:
    assert "put text that begins with * into quotes" in problems("pools: [{schedule: [{from: */5 * * * *}]}]\n")[0]


def test_a_missing_file_a_directory_and_bytes_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for name, sentence in (
        ("none.yaml", "no such file or directory"), (".", "is a directory"), ("bytes", "the file is not UTF-8 text"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=sentence):
            load(tmp_path / name)


def test_a_password_in_the_stores_url_is_never_repeated() -> None:
    assert "hunter2" not in "\n".join(problems("store: {url: [postgresql://me:hunter2@db/pool]}\n"))
