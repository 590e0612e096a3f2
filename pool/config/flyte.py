"""How the daemon reaches Flyte's own API, where the operator allows it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pool.config.pools import Section
from pool.config.values import Directory, Seconds


class FlyteSection(Section):
    """Flyte's API, which is asked whether a workflow has ended for which something is held."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/@]+(/[^\s]*)?$")] = Field(
        description="Of its HTTP endpoint: flyteadmin's (port 80 in its Service), or Flyte 2's backend."
    )
    version: Literal[1, 2] = Field(1, description="Of Flyte.")
    ask_every: Annotated[Seconds, Field(ge=1)] = Field(10.0, description="How often, while something is held.")
    token_file: Directory | None = Field(
        None, description="A file of the daemon's user with a bearer token; read anew for each question."
    )
    client_id: str = Field("", description="For OAuth 2 client credentials instead.")
    client_secret_file: Directory | None = Field(None, description="A file of the daemon's user with their secret.")
    scopes: list[Annotated[str, Field(min_length=1)]] = Field([], description="Scopes to ask for with them.")

    @model_validator(mode="after")
    def _whole(self) -> FlyteSection:
        if bool(self.client_id) != (self.client_secret_file is not None):
            raise ValueError("client_id and client_secret_file belong together: give both, or none")
        if self.client_id and self.token_file is not None:
            raise ValueError("token_file or client_id, not both")
        return self
