"""What numbers of a configuration may be: a file's header is held to it before a model is built."""

from typing import Annotated

from pydantic import Field

Size = Annotated[int, Field(ge=1, le=2**16)]
"""Channels, states, pixels or cells along one axis."""

Layers = Annotated[int, Field(ge=0, le=64)]
"""How often a layer comes."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Share = Annotated[float, Field(ge=0, le=1)]
