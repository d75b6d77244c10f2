"""The hints of a function, enforced at run time: what conftest.py has the import hook apply."""

from collections.abc import Callable
from typing import Any, Self

from beartype import BeartypeConf, beartype

# A whole number is welcome where a float is hinted, as PEP 484 has it.
CONFIGURATION = BeartypeConf(is_pep484_tower=True)


def enforce(function: Callable[..., Any]) -> Callable[..., Any]:
    """Raise when an argument or the result is not what its hint says."""
    # beartype knows what Self is only when it decorates the class, and the hook decorates methods.
    function.__annotations__ = {
        name: hint for name, hint in function.__annotations__.items() if hint is not Self
    }
    enforced: Callable[..., Any] = beartype(conf=CONFIGURATION)(function)
    return enforced
