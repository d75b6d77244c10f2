"""What a latent variable buys on real digits: futures that happen, where least squares has none."""

import torch

import lowland as ll
from lowland.data import Futures, turning_digits


def clips(images: torch.Tensor, n: int, seed: int) -> Futures:
    g = torch.Generator().manual_seed(seed)
    return turning_digits(images, n, size=16, past=2, speed=2.5, generator=g)


def trained(seen: Futures, k: int, steps: int) -> ll.energies.NextFrame:
    g = torch.Generator().manual_seed(0)
    energy = ll.energies.NextFrame.from_data(seen.y, x=seen.x, k=k, widths=(32, 64), generator=g)
    ll.fit(
        energy,
        seen.dataset(),
        ll.FreeEnergyDescent(anneal=steps // 2),
        steps=steps,
        batch_size=32,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=4e-3),
        generator=g,
    )
    return energy


def prefers_the_truth(energy: ll.Energy, test: Futures) -> float:
    """How often the frame that came has less F_1 than the mean of those that might have."""
    came = ll.free_energy(energy, test.y, x=test.x, beta=1.0)
    mean = ll.free_energy(energy, test.mean(), x=test.x, beta=1.0)
    return float((came < mean).double().mean())


@torch.no_grad()
def coverage(energy: ll.energies.NextFrame, test: Futures) -> float:
    """For how many futures a head is nearer than half way to the closest other one."""
    frames = energy.futures(test.x).y
    away = (frames.unsqueeze(2) - test.futures.unsqueeze(1)).square().flatten(3).sum(3).amin(1)
    apart = (test.futures.unsqueeze(2) - test.futures.unsqueeze(1)).square().flatten(3).sum(3)
    other = apart.masked_fill(torch.eye(3, dtype=torch.bool), torch.inf).amin(2)
    return float((away < other / 4).double().mean())


def test_least_squares_prefers_the_average_and_a_latent_variable_the_truth() -> None:
    y = ll.data.digits().y
    seen, test = clips(y[:1400], 6000, 1), clips(y[1400:], 400, 2)
    plain = trained(seen, k=1, steps=150)
    assert prefers_the_truth(plain, test) < 0.05
    assert coverage(plain, test) < 0.2
    latent = trained(seen, k=6, steps=750)
    assert prefers_the_truth(latent, test) > 0.6
    assert coverage(latent, test) > 0.7
