"""Bounds on the numbers of a configuration: a file's header is checked against them before a model is built."""

from typing import Annotated

from pydantic import Field

Size = Annotated[int, Field(ge=1, le=2**16)]
"""Channels, states, pixels or cells along one axis."""

Layers = Annotated[int, Field(ge=0, le=64)]
"""Number of layers of a kind."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Share = Annotated[float, Field(ge=0, le=1)]
