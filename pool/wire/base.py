"""What every message of the HTTP API is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$")]
RequestId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
Text = Annotated[str, Field(max_length=512, pattern=r"^[^\x00-\x1f\x7f]*$")]
Quantity = (
    Annotated[int, Field(ge=0)]
    | Annotated[float, Field(ge=0, allow_inf_nan=False)]
    | Annotated[str, Field(max_length=32)]
)
Count = Annotated[int, Field(ge=0, le=100_000)]
Duration = Annotated[float, Field(ge=0, le=604_800, allow_inf_nan=False)]
Time = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Message(BaseModel):
    """Base of what is received by a client."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class Request(BaseModel):
    """Base of what is received by the daemon."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
