"""Who may ask the daemon, beside those of its tokens file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from pool.config.pools import Section
from pool.config.values import Seconds
from pool.kube.tenancy import NamespaceRule, ReviewRules, TrustedRule, check_rule

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class NamespaceSection(Section):
    """The tenant of the pods of some namespaces. The first that matches counts."""

    match: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Name of the namespace; {project}, {domain} (which has no dash) and * stand for parts of it."
    )
    tenant: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        "{project}/{domain}", description="Its tenant; the parts that were taken, and {namespace}, are put in."
    )

    @model_validator(mode="after")
    def _fits(self) -> NamespaceSection:
        check_rule(self.match, self.tenant)
        return self


class TrustedSection(Section):
    """A service account that may ask for several tenants, such as a connector's."""

    namespace: Name = Field(description="Where the service account is.")
    service_account: Name = Field(description="Its name.")
    tenants: list[Annotated[str, Field(min_length=1, max_length=255)]] = Field(
        ["*"], description="Patterns of the tenants that it may ask for."
    )


class KubernetesAccessSection(Section):
    """Pods prove themselves with their service account's token, which Kubernetes is asked about (TokenReview)."""

    audience: Annotated[str, Field(min_length=1)] = Field(
        "warmpool", description="Tokens must have been made for this audience."
    )
    namespaces: list[NamespaceSection] = Field([], description="Which tenant a namespace's pods belong to.")
    trusted: list[TrustedSection] = Field([], description="Service accounts that may ask for several tenants.")
    operator_groups: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="Groups of Kubernetes whose members are operators."
    )
    ask_access: bool = Field(
        True, description="Who may `update` `pools.warmpool.io` is an operator, who may `get` `/metrics` may scrape."
    )
    fresh: Annotated[Seconds, Field(le=3600)] = Field(60.0, description="An answer of Kubernetes counts for so long.")
    kept: Annotated[Seconds, Field(le=86_400)] = Field(
        900.0, description="And for so long while Kubernetes is away; never beyond the token's own end."
    )

    def rules(self) -> ReviewRules:
        """Return the rules that the section says."""
        return ReviewRules(
            audience=self.audience,
            namespaces=tuple(NamespaceRule(rule.match, rule.tenant) for rule in self.namespaces),
            trusted=tuple(TrustedRule(t.namespace, t.service_account, tuple(t.tenants)) for t in self.trusted),
            operator_groups=frozenset(self.operator_groups),
            ask_access=self.ask_access,
            fresh_s=self.fresh,
            kept_s=self.kept,
        )


class AccessSection(Section):
    """Who may ask, beside the callers of the tokens file."""

    kubernetes: KubernetesAccessSection | None = Field(None, description="Pods of a Kubernetes; nobody if not given.")
