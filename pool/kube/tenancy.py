"""Which tenants a service account speaks for, by the rules of the configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

_PLACEHOLDER = re.compile(r"\{(project|domain|namespace)\}|\*")
# A domain has no dash (development, staging, production): so the last dash parts it from the project.
_PARTS = {"{project}": "(?P<project>.+)", "{domain}": "(?P<domain>[^-]+)", "*": ".*"}


@dataclass(frozen=True)
class NamespaceRule:
    """The tenant of the service accounts of some namespaces.

    Attributes:
        namespace: pattern; ``{project}`` and ``{domain}`` take parts of the name, ``*`` any.
        tenant: what they belong to; the parts taken, and ``{namespace}``, are put in.
    """

    namespace: str
    tenant: str

    def tenant_of(self, namespace: str) -> str:
        """Return the tenant of a namespace, empty if the rule is not for it."""
        found = self._pattern().fullmatch(namespace)
        return self.tenant.format(namespace=namespace, **found.groupdict()) if found else ""

    def _pattern(self) -> re.Pattern[str]:
        parts, at = "", 0
        for match in _PLACEHOLDER.finditer(self.namespace):
            parts += re.escape(self.namespace[at : match.start()]) + _PARTS[match[0]]
            at = match.end()
        return re.compile(parts + re.escape(self.namespace[at:]))


@dataclass(frozen=True)
class TrustedRule:
    """A service account that speaks for others, such as a connector's or a gateway's.

    Attributes:
        namespace, service_account: which one.
        tenants: patterns of whom it speaks for.
    """

    namespace: str
    service_account: str
    tenants: tuple[str, ...]


@dataclass(frozen=True)
class ReviewRules:
    """How tokens of Kubernetes are judged.

    Attributes:
        audience: for which a token must have been made.
        namespaces: the first rule that matches counts.
        trusted: accounts that speak for several tenants.
        operator_groups: whose members are operators.
        ask_access: also ask Kubernetes (SubjectAccessReview) who may ``update`` ``pools.warmpool.io`` (an operator)
            and who may ``get`` ``/metrics``.
        fresh_s: an answer counts for so long.
        kept_s: and for so long while Kubernetes cannot be asked again.
    """

    audience: str = "warmpool"
    namespaces: tuple[NamespaceRule, ...] = ()
    trusted: tuple[TrustedRule, ...] = ()
    operator_groups: frozenset[str] = frozenset()
    ask_access: bool = True
    fresh_s: float = 60.0
    kept_s: float = 900.0

    def tenants_of(self, namespace: str, service_account: str) -> tuple[str, ...]:
        """Return the patterns of the tenants that a service account speaks for; empty for none."""
        for trusted in self.trusted:
            if (trusted.namespace, trusted.service_account) == (namespace, service_account):
                return trusted.tenants
        for rule in self.namespaces:
            if tenant := rule.tenant_of(namespace):
                # A literal: fnmatch has its own ideas of brackets, which no namespace can hold.
                return (tenant,)
        return ()


def check_rule(namespace: str, tenant: str) -> None:
    """Check that a rule's tenant uses only parts that its namespace pattern takes.

    Raises:
        ValueError: saying what is wrong.
    """
    taken = {name for name in _PLACEHOLDER.findall(namespace) if name} | {"namespace"}
    if namespace.count("{project}") > 1 or namespace.count("{domain}") > 1 or "{namespace}" in namespace:
        raise ValueError(f"{namespace!r} may hold {{project}} and {{domain}} once each, and *")
    try:
        example = tenant.format(**dict.fromkeys(taken, "x"))
    except (KeyError, IndexError, ValueError):
        raise ValueError(f"{tenant!r} uses a part that {namespace!r} does not take") from None
    if any(fnmatchcase(sign, "[*?[]") for sign in example) or "]" in example:
        raise ValueError(f"{tenant!r} is not one tenant: it holds a pattern's sign")
