"""What a run needs beyond its energy to go on exactly: optimizer, generator, place in the data."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowland._errors import CheckpointError
from lowland.checkpoint import check_state, public_name, read_bundle, save, write_bundle
from lowland.energy import Energy
from lowland.train.strategy import Strategy

FORMAT = "lowland-training"


class Position:
    """Where a run is: steps made, whether the epoch's order is drawn and how much of it is used.

    Args:
        generator: the run's source of randomness; the epoch's order is drawn from it again when a
            run resumes, so that the order itself need not be saved.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.step = 0
        self.used = 0
        self.ordered = False
        self.epoch_state = generator.get_state()

    def write(
        self,
        folder: Path,
        energy: Energy,
        strategy: Strategy,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        """Write the energy, then the rest; each is whole or absent.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        save(energy, folder)
        tensors = {"generator": self.generator.get_state(), "epoch": self.epoch_state}
        described = None
        if optimizer is not None:
            described = _flatten(optimizer.state_dict(), tensors)
        # The weights again: a kill between the two files must not pair old weights and new place.
        tensors |= {f"energy.{key}": value for key, value in energy.state_dict().items()}
        manifest = {
            "format": FORMAT,
            "step": self.step,
            "used": self.used,
            "ordered": self.ordered,
            "optimizer": described,
            **_kinds(energy, strategy, optimizer),
        }
        write_bundle(folder, "training", tensors, manifest)

    def read(
        self,
        folder: Path,
        energy: Energy,
        strategy: Strategy,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        """Put the energy, the optimizer and the generator back to where the run was.

        Nothing is changed unless all of it fits.

        Raises:
            CheckpointError: the folder does not hold a run that fits.
        """
        tensors, manifest = read_bundle(folder, "training", FORMAT)
        for kind, now in _kinds(energy, strategy, optimizer).items():
            if manifest.get(kind) != now:
                raise CheckpointError(
                    f"The run in {folder} does not fit: its {kind.removesuffix('_class')} is "
                    f"{manifest.get(kind)}, and that of this one {now}. Resume with the same, or "
                    f"start afresh in another folder."
                )
        prefix = "energy."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        check_state(energy, state, folder)
        try:
            step, used = int(manifest["step"]), int(manifest["used"])
            ordered = bool(manifest["ordered"])
            if step < 0 or used < 0:
                raise ValueError(f"step {step}, used {used}")
            epoch = tensors["epoch"]
            restored = _unflatten(manifest["optimizer"], tensors)
            torch.Generator(self.generator.device).set_state(tensors["generator"])
            if optimizer is not None:
                optimizer.load_state_dict(restored)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The run in {folder} does not fit this energy and optimizer: {error}. Resume with "
                f"the same ones, or start afresh in another folder."
            ) from error
        energy.load_state_dict(state)
        self.generator.set_state(tensors["generator"])
        self.step, self.used, self.epoch_state = step, used, epoch
        self.ordered = ordered


def _kinds(
    energy: Energy, strategy: Strategy, optimizer: torch.optim.Optimizer | None
) -> dict[str, str | None]:
    """What must be the same when a run goes on."""
    return {
        "energy_class": public_name(type(energy)),
        "strategy_class": public_name(type(strategy)),
        "optimizer_class": None if optimizer is None else public_name(type(optimizer)),
    }


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON for an optimizer's state, its tensors moved to `tensors`."""
    if isinstance(value, Tensor):
        key = f"optimizer.{len(tensors)}"
        tensors[key] = value
        return {"tensor": key}
    if isinstance(value, dict):
        return {"map": [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(item, tensors) for item in value]}
    return value


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    match value:
        case {"tensor": key}:
            return tensors[key]
        case {"map": items}:
            return {key: _unflatten(item, tensors) for key, item in items}
        case {"list": items}:
            return [_unflatten(item, tensors) for item in items]
    return value
