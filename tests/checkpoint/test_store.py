import json
import math
import re
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lowland as ll
from lowland.checkpoint import public_name

Y = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kmeans(k: int = 3) -> ll.energies.KMeans:
    return ll.energies.KMeans(Y[:k])


def network(*layers: nn.Module) -> ll.energies.Network:
    return ll.energies.Network(nn.Sequential(*layers), (2,))


class Wells(ll.Energy):
    """Someone else's energy: a tensor that is no parameter, a list, a float, a module."""

    def __init__(
        self, centre: Tensor, sizes: tuple[int, ...], sharpness: float, head: nn.Module
    ) -> None:
        super().__init__((2,))
        self.centre = centre
        self.sizes = sizes
        self.sharpness = sharpness
        self.head = head

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        bowl = self.sharpness * (y - self.centre).square().sum(-1)
        return bowl + self.head(y).squeeze(-1) + sum(self.sizes)


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 1)

    def forward(self, y: Tensor) -> Tensor:
        out: Tensor = self.inner(y)
        return out


ENERGIES = {
    "Gaussian": lambda: ll.energies.Gaussian(Y.mean(0), torch.tensor([[2.0, 0.3], [0.3, 1.0]])),
    "DoubleWell": lambda: ll.energies.DoubleWell((2,), 3.25),
    "Ring": lambda: ll.energies.Ring((2,), 1.3, 0.7),
    "Ellipse": lambda: ll.energies.Ellipse(torch.tensor([2.0, 1.5]), codes=12),
    "KMeans": kmeans,
    "Autoencoder": lambda: ll.energies.Autoencoder.from_data(
        Y, hidden=(5,), code=3, generator=seeded()
    ),
    "Network": lambda: ll.energies.Network.from_data(Y, hidden=(5,), generator=seeded()),
    "Sum": lambda: kmeans() + ll.energies.Ring() + ll.energies.DoubleWell(),
    "Tempered": lambda: kmeans() / 2.5,
    "Mixture": lambda: ll.Mixture(
        [ll.energies.Ring(), ll.energies.Gaussian(Y[0], torch.eye(2))], torch.tensor([0.2, 3.0])
    ),
    "Mixture of equals": lambda: ll.Mixture([ll.energies.Ring(), ll.energies.DoubleWell()]),
    "Scaled": lambda: ll.Scaled(kmeans(), ll.Scaling.from_data(Y)),
    "Scaled by one number": lambda: ll.Scaled(kmeans(), ll.Scaling(Y[0, 0], Y[0, 0].abs())),
    "FreeEnergy": lambda: ll.FreeEnergy(kmeans(), beta=3.0, measure="sum"),
    "FreeEnergy at zero temperature": lambda: ll.FreeEnergy(kmeans()),
    "nested": lambda: ll.FreeEnergy(
        ll.Scaled(
            ll.Sum([kmeans(), ll.FreeEnergy(kmeans(5), beta=2.0), ll.energies.Ring()]) / 3.0,
            ll.Scaling.from_data(Y, "range"),
        ),
        beta=math.inf,
    ),
    "one energy twice": lambda: (lambda e: ll.FreeEnergy(e) + ll.FreeEnergy(e))(kmeans()),
    "third party": lambda: Wells(Y[1].clone(), (1, 2), 0.1, nn.Linear(2, 1)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ENERGIES)
def test_round_trip_is_exact_to_the_bit(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    energy = ENERGIES[name]().to(dtype)
    if isinstance(energy, Wells):
        energy.centre = energy.centre.to(dtype)
    ll.save(energy, tmp_path)
    before = torch.get_rng_state()
    loaded = ll.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(loaded) is type(energy)
    assert (loaded.event, loaded.latent, loaded.domain) == (
        energy.event,
        energy.latent,
        energy.domain,
    )
    assert loaded.dtype == energy.dtype
    assert not loaded.training
    state = loaded.state_dict()
    assert state.keys() == energy.state_dict().keys()
    for key, value in energy.state_dict().items():
        assert state[key].dtype == value.dtype
        assert torch.equal(state[key], value)
    y = Y.to(dtype)
    assert torch.equal(ll.score(loaded, y), ll.score(energy, y))
    assert torch.equal(ll.score(loaded, y, beta=2.0), ll.score(energy, y, beta=2.0))


def test_a_conditional_energy(tmp_path: Path) -> None:
    x, y = Y[:, :1], Y[:, 1:]
    scaling = ll.Scaling.from_data(x)
    energy = ll.Scaled(ll.energies.LeastSquares.from_data(y, x=x), scaling, scaling)
    ll.fit(energy, (x, y), ll.CoordinateDescent(), steps=1)
    ll.save(energy, tmp_path)
    assert torch.equal(ll.score(ll.load(tmp_path), y, x=x), ll.score(energy, y, x=x))


def test_after_training_and_trainable_again(tmp_path: Path) -> None:
    energy = ENERGIES["Autoencoder"]()
    ll.fit(energy, Y, ll.Denoising(), steps=5, generator=seeded())
    ll.save(energy, tmp_path)
    loaded = ll.load(tmp_path)
    assert torch.equal(ll.score(loaded, Y), ll.score(energy, Y))
    for each in (energy, loaded):
        ll.fit(each, Y, ll.Denoising(), steps=5, generator=seeded(1))
    assert torch.equal(ll.score(loaded, Y), ll.score(energy, Y))


def test_saving_does_not_change_the_energy(tmp_path: Path) -> None:
    energy = kmeans().train()
    prototypes = energy.prototypes
    ll.save(energy, tmp_path)
    assert energy.prototypes is prototypes
    assert energy.training


def test_a_loaded_energy_does_not_share_memory_between_aliases(tmp_path: Path) -> None:
    ll.save(ENERGIES["one energy twice"](), tmp_path)
    first, second = ll.load(tmp_path).terms  # type: ignore[union-attr,misc]
    with torch.no_grad():
        first.energy.prototypes.add_(1)  # type: ignore[union-attr,operator]
    assert torch.equal(second.energy.prototypes, Y[:3])  # type: ignore[union-attr]


def test_names_of_classes() -> None:
    assert public_name(ll.energies.KMeans) == "lowland.energies.KMeans"
    assert public_name(ll.Scaled) == "lowland.Scaled"
    assert public_name(ll.FreeEnergy) == "lowland.FreeEnergy"
    assert public_name(Wells) == f"{__name__}:Wells"


@pytest.mark.parametrize("name", [*ll.energies.__all__, "Sum", "Tempered", "Mixture", "Scaled"])
def test_a_lowland_class_is_imported_under_its_public_name(name: str) -> None:
    cls = getattr(ll.energies, name, None) or getattr(ll, name)
    module, _, attribute = public_name(cls).rpartition(".")
    assert getattr(sys.modules[module], attribute) is cls


def test_the_manifest_says_what_it_is(tmp_path: Path) -> None:
    ll.save(kmeans(), tmp_path)
    manifest = json.loads((tmp_path / "energy.json").read_text())
    assert manifest["format"] == "lowland-energy"
    assert manifest["format_version"] == 1
    assert manifest["class"] == "lowland.energies.KMeans"
    assert manifest["versions"] == {"lowland": ll.__version__, "torch": torch.__version__}


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Linear(2, 3), nn.SiLU(), nn.Linear(3, 1, bias=False)),
        (nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)),
        (nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 1)),
        (nn.Identity(), nn.Linear(2, 1)),
        (nn.Linear(2, 3), nn.LogSigmoid(), nn.Linear(3, 1)),
        (nn.Linear(2, 3), nn.Hardtanh(), nn.Linear(3, 1)),
        (nn.Linear(2, 3), nn.Softplus(2.0), nn.LayerNorm(3), nn.Linear(3, 1)),
        (nn.Linear(2, 3), nn.BatchNorm1d(3), nn.GELU("tanh"), nn.Dropout(0.3), nn.Linear(3, 1)),
        (nn.Unflatten(1, (1, 2)), nn.Conv1d(1, 4, 2), nn.ELU(0.3), nn.Flatten(), nn.Linear(4, 1)),
        (nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ELU(0.5))), nn.PReLU(3), nn.Linear(3, 1)),
    ],
    ids=lambda layers: "-".join(type(layer).__name__ for layer in layers),
)
def test_layers_of_torch_are_described(layers: tuple[nn.Module, ...], tmp_path: Path) -> None:
    energy = network(*layers).eval()
    ll.save(energy, tmp_path)
    loaded = ll.load(tmp_path)
    assert repr(loaded) == repr(energy)
    assert torch.equal(ll.score(loaded, Y), ll.score(energy, Y))


def test_named_layers_keep_their_names(tmp_path: Path) -> None:
    layers = OrderedDict(hidden=nn.Linear(2, 3), act=nn.SiLU(), head=nn.Linear(3, 1))
    energy = ll.energies.Network(nn.Sequential(layers), (2,))
    ll.save(energy, tmp_path)
    assert torch.equal(ll.score(ll.load(tmp_path), Y), ll.score(energy, Y))


def test_a_layer_that_torch_does_not_describe_is_still_saved_by_its_weights(tmp_path: Path) -> None:
    class Net(nn.ModuleDict):
        def forward(self, y: Tensor) -> Tensor:
            out: Tensor = self["head"](y)
            return out

    energy = ll.energies.Network(Net({"head": nn.Linear(2, 1)}), (2,))
    ll.save(energy, tmp_path)
    fresh = ll.energies.Network(Net({"head": nn.Linear(2, 1)}), (2,))
    assert torch.equal(ll.score(ll.load(tmp_path, into=fresh), Y), ll.score(energy, Y))


def test_a_submodule_may_be_called_anything(tmp_path: Path) -> None:
    energy = Constant()
    ll.save(energy, tmp_path)
    assert torch.equal(ll.score(ll.load(tmp_path), Y), ll.score(energy, Y))


class Constant(ll.Energy):
    def __init__(self, event: tuple[int, ...] = (2,)) -> None:
        super().__init__(event)
        self.constant = nn.Linear(2, 1)

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        out: Tensor = self.constant(y).squeeze(-1)
        return out


# Modules of the user's own.


def test_a_module_of_ones_own_needs_into(tmp_path: Path) -> None:
    energy = ll.energies.Network(Mine(), (2,))
    ll.save(energy, tmp_path)
    with pytest.raises(ll.CheckpointError, match=r"weights of a Mine.*lowland\.load\(path, into="):
        ll.load(tmp_path)
    fresh = ll.energies.Network(Mine(), (2,))
    loaded = ll.load(tmp_path, into=fresh)
    assert loaded is fresh
    assert torch.equal(ll.score(loaded, Y), ll.score(energy, Y))


def test_into_another_class_is_refused(tmp_path: Path) -> None:
    ll.save(kmeans(), tmp_path)
    with pytest.raises(ll.CheckpointError, match=r"holds a lowland\.energies\.KMeans.*Ring"):
        ll.load(tmp_path, into=ll.energies.Ring())


def test_into_another_shape_is_refused_and_leaves_it_alone(tmp_path: Path) -> None:
    ll.save(kmeans(3), tmp_path)
    other = kmeans(4)
    with pytest.raises(ll.CheckpointError, match=r"'prototypes' should have shape \(4, 2\)"):
        ll.load(tmp_path, into=other)
    assert torch.equal(other.prototypes, Y[:4])


def test_into_gives_the_energy_that_was_saved(tmp_path: Path) -> None:
    # What an energy derives from its tensors must follow them.
    energy = ll.energies.Gaussian(Y[0], 4 * torch.eye(2))
    ll.save(energy, tmp_path)
    loaded = ll.load(tmp_path, into=ll.energies.Gaussian(torch.zeros(2), torch.eye(2)))
    assert torch.equal(ll.score(loaded, Y), ll.score(energy, Y))


def test_into_another_configuration_is_refused(tmp_path: Path) -> None:
    ll.save(kmeans() / 2.0, tmp_path)
    with pytest.raises(ll.CheckpointError, match="temperature"):
        ll.load(tmp_path, into=kmeans() / 1.0)


# Classes that are not there.


def test_loading_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = tmp_path / "imported"
    (tmp_path / "planted_energy.py").write_text(f"open({str(witness)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ll.save(Wells(Y[0], (1,), 1.0, nn.Linear(2, 1)), tmp_path / "run")
    path = tmp_path / "run" / "energy.json"
    for name in ("planted_energy:Wells", "planted_energy.Wells"):
        text = re.sub(rf"{re.escape(__name__)}[:]Wells", name, path.read_text())
        path.write_text(text.replace("planted_energy:Wells", name))
        with pytest.raises(ll.CheckpointError, match=rf"{name}, which is not defined here.*import"):
            ll.load(tmp_path / "run")
    assert not witness.exists()
    assert "planted_energy" not in sys.modules


# What cannot be saved.


class Odd(ll.Energy):
    def __init__(self, odd: Any) -> None:
        super().__init__((2,))
        self.odd = odd

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        return y.sum(-1)


@pytest.mark.parametrize("odd", [lambda: 1, 1j, b"bytes", {1, 2}, object(), {1: 2.0}])
def test_what_has_no_json_form_is_refused(odd: Any, tmp_path: Path) -> None:
    with pytest.raises(ll.CheckpointError, match="cannot be saved"):
        ll.save(Odd(odd), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "odd", [None, True, -3, 0.1, math.inf, -math.inf, "ž", (1, (2.5, "a")), {"a": (1,)}]
)
def test_what_has_one_comes_back_as_it_was(odd: Any, tmp_path: Path) -> None:
    ll.save(Odd(odd), tmp_path)
    loaded = ll.load(tmp_path)
    assert isinstance(loaded, Odd)
    assert loaded.odd == odd
    assert type(loaded.odd) is type(odd)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_tensors_are_not_written_over_good_ones(value: float, tmp_path: Path) -> None:
    energy = kmeans()
    ll.save(energy, tmp_path)
    with torch.no_grad():
        energy.prototypes[0, 0] = value
    with pytest.raises(ll.CheckpointError, match=r"'prototypes' holds NaN or inf.*untouched"):
        ll.save(energy, tmp_path)
    assert torch.equal(ll.load(tmp_path).prototypes, Y[:3])
