"""Tensors that a module keeps as plain attributes, and whether others have taken their places.

A recording holds on to the tensors that it looked at. It sees them changed in place, and parameters
and buffers are part of its key; but a plain attribute that is assigned anew would leave it with the
old tensor.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor, nn

from lowland._modes import parts_of


class Place(NamedTuple):
    """Where a module keeps a tensor.

    Attributes:
        attributes: those of one of its parts, by name.
        name: of the attribute.
        key: where in the list, tuple or dict that the attribute is; None if it is the tensor.
        tensor: what was there.
    """

    attributes: dict[str, Any]
    name: str
    key: Any
    tensor: Tensor

    def kept(self) -> bool:
        """Whether it is still there."""
        found = self.attributes.get(self.name)
        if self.key is not None:
            try:
                found = found[self.key]  # type: ignore[index]  # anything may be there by now
            except (LookupError, TypeError):
                return False
        return found is self.tensor


def places(module: nn.Module, tensors: Iterable[Tensor]) -> list[Place]:
    """Where the module keeps these tensors, but for parameters and buffers.

    Attributes are looked at, and lists, tuples and dicts that are attributes, no deeper.
    """
    wanted = {id(tensor) for tensor in tensors}
    found = []
    for part in parts_of(module):
        own = vars(part)
        for name, value in own.items():
            if name in ("_parameters", "_buffers", "_modules"):
                continue
            for key, one in _items(value):
                if isinstance(one, Tensor) and id(one) in wanted:
                    found.append(Place(own, name, key, one))
    return found


def _items(value: object) -> Iterable[tuple[Any, object]]:
    if isinstance(value, list | tuple):
        return enumerate(value)
    return value.items() if isinstance(value, dict) else [(None, value)]
