"""Results that print their tensors by type and shape."""

from dataclasses import fields
from typing import Any

from torch import Tensor, nn


class Brief:
    """A dataclass whose `repr` is a line: tensors by type and shape, models by class, long sequences by length."""

    def __repr__(self) -> str:
        """Return the fields in a line."""
        shown = (f"{one.name}={brief(getattr(self, one.name))}" for one in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shown)})"


def brief(value: Any) -> str:
    """Return a value in few words."""
    match value:
        case Tensor():
            return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
        case nn.Module():
            return f"{type(value).__name__}(…)"
        case tuple() if len(value) > _FEW:
            return f"({len(value)} of {type(value[0]).__name__})"
        case tuple():
            return f"({', '.join(map(brief, value))}{',' if len(value) == 1 else ''})"
        case _:
            return repr(value)


_FEW = 12
"""Members of a sequence that are all shown."""
