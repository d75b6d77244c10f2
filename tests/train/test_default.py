import pytest
import torch

import lowland as ll
from lowland.energy import Energy
from lowland.train import default_strategy

Y = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("energy", "strategy"),
    [
        (ll.energies.KMeans(Y[:3]), ll.CoordinateDescent),
        (ll.energies.GaussianMixture.from_data(Y, 2), ll.ExpectationMaximization),
        (ll.energies.Amortized.from_data(Y, k=6), ll.PredictiveSparseDecomposition),
        (ll.energies.Amortized.from_data(Y, k=6, weight=0.0), ll.CoordinateDescent),
        (ll.energies.Autoencoder.from_data(Y, hidden=(4,), code=2), ll.Denoising),
        (ll.energies.Network.from_data(Y, hidden=(4,)), ll.DenoisingScoreMatching),
        (ll.energies.GLO.from_data(Y, m=2, hidden=(4,)), ll.LearnedCodes),
        (ll.energies.VAE.from_data(Y, m=2, hidden=(4,)), ll.Variational),
        (ll.energies.VectorQuantized.from_data(Y, k=4, hidden=(4,)), ll.StraightThrough),
        (ll.energies.MaskedAutoencoder.from_data(Y, hidden=(4,)), ll.Masking),
        (ll.energies.JointEmbedding.from_data(Y, hidden=(4,), d=2), ll.VarianceCovariance),
        (ll.energies.NextFrame((1, 4, 4), past=1, widths=(2,)), ll.FreeEnergyDescent),
        (ll.energies.ContractiveAutoencoder.from_data(Y, code=3), ll.Contraction),
    ],
)
def test_each_energy_is_trained_by_what_suits_its_code(energy: Energy, strategy: type) -> None:
    assert default_strategy(energy) is strategy
    assert strategy().unsuited(energy) is None
