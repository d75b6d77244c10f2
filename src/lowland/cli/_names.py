"""Energies and strategies by the names that users type; found by looking, never registered."""

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowland import Energy, energies, train
from lowland._errors import DomainError, LowlandError
from lowland.cli._options import refuse_unknown
from lowland.train import Strategy


def kebab(name: str) -> str:
    """A class's name as it is typed.

    Example:
        >>> kebab("LeastSquares"), kebab("KMeans")
        ('least-squares', 'kmeans')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def energy_classes() -> dict[str, type[Energy]]:
    """The energies that lowland ships, by the names that users type."""
    return _public(energies, Energy)


def strategy_classes() -> dict[str, type[Strategy]]:
    """The strategies that lowland ships, by the names that users type."""
    return _public(train, Strategy)


def _public(module: Any, base: type) -> dict[str, Any]:
    members: Iterable[Any] = (getattr(module, name) for name in module.__all__)
    return {
        kebab(cls.__name__): cls
        for cls in members
        if isinstance(cls, type) and issubclass(cls, base) and not inspect.isabstract(cls)
    }


def find_energy(name: str) -> type[Energy]:
    """The class of a shipped energy, or of anyone's as `package.module:Class`.

    Raises:
        DomainError: there is no such class.
    """
    cls: type[Energy] = _find(name, energy_classes(), Energy, "--energy")
    return cls


def find_strategy(name: str) -> type[Strategy]:
    """The class of a shipped strategy, or of anyone's as `package.module:Class`.

    Raises:
        DomainError: there is no such class.
    """
    cls: type[Strategy] = _find(name, strategy_classes(), Strategy, "--strategy")
    return cls


def _find(name: str, known: Mapping[str, type], base: type, flag: str) -> Any:
    if ":" in name:
        return _imported(name, base, flag)
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise DomainError(
        f"{flag} {name!r} is not known.{hint} There are: {', '.join(known)}; or name a class of "
        f"yours as package.module:Class."
    )


def _imported(name: str, base: type, flag: str) -> Any:
    module_name, _, class_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # an installed script does not look in the current folder by itself
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError, TypeError) as error:
        raise DomainError(
            f"{flag} {name}: the module {module_name!r} cannot be imported ({error}). It must be "
            f"installed, or lie in the current folder."
        ) from error
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        found = "nothing of that name" if cls is None else f"{cls!r}"
        raise DomainError(
            f"{flag} {name} must be a subclass of lowland's {base.__name__}. {module_name} holds "
            f"{found}."
        )
    return cls


def energy_options(cls: type[Energy]) -> list[str]:
    """The options with which an energy can be built from data."""
    parameters = inspect.signature(cls.from_data).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [p.name for p in parameters if p.kind in named and p.name != "y"]
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        own = inspect.signature(cls.__init__).parameters.values()
        names += [p.name for p in own if p.kind in named]
    return [name for name in names if name not in ("self", "x", "generator", "event")]


def build_energy(
    cls: type[Energy], y: Tensor, x: Tensor | None, seed: int, options: dict[str, Any]
) -> Energy:
    """Build an energy whose shape fits the data.

    Raises:
        DomainError: it does not take such an option, or not with that value.
    """
    refuse_unknown(options, energy_options(cls), f"{cls.__name__} (--set)")
    generator = torch.Generator().manual_seed(seed)
    try:
        return cls.from_data(y, x=x, generator=generator, **options)
    except LowlandError:
        raise
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"{cls.__name__} cannot be built from these data with {options or 'no options'}: "
            f"{error}."
        ) from error


def strategy_options(cls: type[Strategy]) -> list[str]:
    """The options of a strategy that can be typed: all but functions."""
    return [f.name for f in fields(cls) if not callable(f.default)]


def build_strategy(cls: type[Strategy], options: dict[str, Any]) -> Strategy:
    """A strategy with options.

    Raises:
        DomainError: it does not take such an option, or not with that value.
    """
    refuse_unknown(options, strategy_options(cls), f"{cls.__name__} (--strategy-set)")
    try:
        return cls(**options)
    except LowlandError:
        raise
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"{cls.__name__} does not take {options}: {error}. See its documentation for what each "
            f"option means."
        ) from error
