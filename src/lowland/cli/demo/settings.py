"""How large the demonstration is: one set of numbers for the report, one for a quick look."""

from dataclasses import dataclass

# The noise that is to be removed, as a share of the range from paper (0) to ink (1).
NOISE = 0.4


@dataclass(frozen=True)
class Settings:
    """The size of each part of the demonstration.

    Attributes:
        train: how many digits are trained on.
        held: how many others are held out.
        prototypes: codes of the K-means energy.
        hidden: size of the hidden layers of the autoencoder and of the network.
        autoencoder_steps: gradient steps of denoising.
        network_steps: gradient steps of denoising score matching.
        completed: how many held-out digits are completed.
        starts: training digits that each descent starts from.
        descent: the most evaluations of a descent.
        walk: Langevin steps of the network's chains.
        draws: how many new digits each energy is asked for.
        label_draws: how many times the few labels are drawn.
        points: points of the toys in the plane.
        plane_steps: gradient steps of the network in the plane.
        resolution: grid points along an axis of the pictures of the plane.
    """

    train: int = 1437
    held: int = 360
    prototypes: int = 256
    hidden: int = 512
    autoencoder_steps: int = 1200
    network_steps: int = 1200
    completed: int = 100
    starts: int = 16
    descent: int = 60
    walk: int = 400
    draws: int = 100
    label_draws: int = 20
    points: int = 2000
    plane_steps: int = 1000
    resolution: int = 240

    @classmethod
    def quick(cls) -> "Settings":
        """Every part, small: to see that all of it runs. Its figures mean little."""
        return cls(
            train=400,
            held=120,
            prototypes=32,
            hidden=64,
            autoencoder_steps=60,
            network_steps=60,
            completed=6,
            starts=6,
            descent=10,
            walk=20,
            draws=12,
            label_draws=2,
            points=200,
            plane_steps=60,
            resolution=40,
        )
