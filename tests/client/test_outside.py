"""How to reach what a lease names from outside of Kubernetes."""

from __future__ import annotations

import pytest

from pool.client.outside import known_here, port_forward

DASHBOARD, CLIENT = "http://c-1-head-svc.ns.svc:8265", "ray://c-1-head-svc.ns.svc:10001"


def test_the_address_of_a_service_comes_with_the_command_to_reach_it() -> None:
    assert port_forward(DASHBOARD) == "kubectl port-forward -n ns service/c-1-head-svc 8265"
    assert port_forward(CLIENT, DASHBOARD) == "kubectl port-forward -n ns service/c-1-head-svc 10001 8265"
    assert port_forward("", "c-1.ns.svc.cluster.local:6379") == "kubectl port-forward -n ns service/c-1 6379"


@pytest.mark.parametrize(
    "urls",
    [
        (),
        ("",),
        ("http://127.0.0.1:8265",),
        ("http://10.0.0.7:8265",),
        ("http://ray.example.com:8265",),
        ("http://c-1-head-svc.ns.svc",),
        ("http://[::1",),
        (DASHBOARD, "http://127.0.0.1:8265"),
        (DASHBOARD, "http://c-2-head-svc.ns.svc:8265"),
    ],
)
def test_other_addresses_have_no_such_command(urls: tuple[str, ...]) -> None:
    assert port_forward(*urls) == ""


def test_a_name_of_another_network_is_not_known_here() -> None:
    assert known_here("127.0.0.1:6379")
    assert known_here("http://localhost:8265")
    assert not known_here("ray://c-1-head-svc.ns.svc.invalid:10001")
