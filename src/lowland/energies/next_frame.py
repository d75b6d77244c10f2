"""The next frame of a video, one of several: a decoder with a head for each code."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from lowland._errors import CapabilityError, DomainError, ShapeError
from lowland._random import normal_like, uniform
from lowland.energies._frames import FrameDecoder, FrameEncoder, FrameNetwork
from lowland.energies._layers import draw_weights
from lowland.energies.vae import VAE
from lowland.energy import Energy
from lowland.latent import OneHot

# The noise at the start, as a share of the mean square change from frame to frame.
_SHARE = 0.02

# How far from one another two codes start that were one, in standard deviations of their weights.
APART = 0.1


class Heads(NamedTuple):
    """What a network sees for a past.

    Attributes:
        y: the future of each code, `(*batch, k, *event)`.
        log_mass: log π of each code, `(*batch, k)`.
    """

    y: Tensor
    log_mass: Tensor


class NextFrame(Energy):
    r"""How far y is from one of k futures that a network sees for the past x.

    $$E(x, y, z) = \frac{\|y - \mathrm{Dec}_z(\mathrm{Pred}(x))\|^2}{2 \sigma^2}
      - \log \pi_z(\mathrm{Pred}(x)), \qquad \sum_z \pi_z = 1$$

    Where several futures are possible, least squares answers with their mean, a frame that never
    comes. Here z says which one: each code has a head of its own on the decoder, so that one pass
    gives all k frames, and a mass π, the share of its future. F_1 of measure "sum" is
    −log p(y | x) up to a constant: the density of a mixture of the futures with normal noise.
    With k = 1 it is the same network trained by least squares, the blurry yardstick; `noisy` builds
    the form with a continuous code.

    The noise σ says how alike two frames must be to count as one future; it is not trained, for a
    noise that shrinks with the error makes the choice of codes hard before they have parted.

    Args:
        event: the shape of y, `(channels, height, width)`, or with an axis of several frames ahead
            first, `(ahead, channels, height, width)`.
        past: how many frames x holds, `(past, channels, height, width)`.
        k: how many futures.
        noise: σ, positive, in units of y.
        actions: how many elements an action has; where there are any, each frame of x has so many
            more channels, which hold the act on that frame: see `with_actions` of
            `lowland.pretext`.
        widths: channels of the network after each halving of the image.
        mixed_precision: whether the convolutions compute in bfloat16 in training, which is faster
            on processors that have units for it; answers are always computed in full.
        generator: the start of the weights; torch's default generator if None.

    Raises:
        ShapeError: the event is not that of frames, or x does not hold the past.
        DomainError: an option is out of range.

    Reference:
        Deep Multi-Scale Video Prediction Beyond Mean Square Error (Mathieu, Couprie and LeCun,
        2016), https://arxiv.org/abs/1511.05440; Mixture Density Networks (Bishop, 1994),
        https://publications.aston.ac.uk/id/eprint/373/; a head for each hypothesis: Learning in an
        Uncertain World: Representing Ambiguity Through Multiple Hypotheses (Rupprecht et al.,
        2017), https://arxiv.org/abs/1612.00197

    Example:
        >>> energy = NextFrame((1, 8, 8), past=2, k=3, widths=(4, 8))
        >>> x = torch.zeros(5, 2, 1, 8, 8)
        >>> energy.futures(x).y.shape, energy.tabulate(torch.zeros(5, 1, 8, 8), x=x).shape
        (torch.Size([5, 3, 1, 8, 8]), torch.Size([5, 3]))
    """

    latent: OneHot

    def __init__(
        self,
        event: Sequence[int],
        past: int = 3,
        k: int = 6,
        noise: float = 0.1,
        actions: int = 0,
        widths: Sequence[int] = (32, 64, 128),
        mixed_precision: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(event, OneHot(k))
        if len(self.event) not in (3, 4):
            raise ShapeError(
                f"The 'event' of NextFrame must be (channels, height, width), or with an axis of "
                f"frames ahead first. Got {self.event}."
            )
        for name, value, least in (("past", past, 1), ("actions", actions, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise DomainError(
                    f"'{name}' of NextFrame must be a whole number of at least {least}. Got "
                    f"{value!r}."
                )
        if not (math.isfinite(noise) and noise > 0):
            raise DomainError(f"The 'noise' of NextFrame must be positive. Got {noise!r}.")
        self.past = past
        self.k = k
        self.noise = float(noise)
        self.actions = actions
        self.widths = tuple(widths)
        self.mixed_precision = mixed_precision
        channels = self.event[-3]
        self.inputs = (past, channels + actions, *self.event[-2:])
        shown = math.prod(self.inputs[:2])
        self.net = FrameNetwork(
            shown, k * math.prod(self.event[:-2]), self.widths, generator=generator
        )
        mass = nn.Linear(self.widths[-1], k, device="meta")
        self.mass = cast(nn.Linear, draw_weights(mass, self.widths[-1], generator))

    def configuration(self) -> dict[str, object]:
        """The constructor's arguments but for the generator: the weights are in the state."""
        names = ("event", "past", "k", "noise", "actions", "widths", "mixed_precision")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_data(  # type: ignore[override]  # each energy names its own options
        cls,
        y: Tensor,
        *,
        x: Tensor | None = None,
        k: int = 6,
        noise: float | None = None,
        widths: Sequence[int] = (32, 64, 128),
        mixed_precision: bool = False,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Build a network that fits the clips.

        Args:
            y: the frames to predict, `(n, channels, height, width)` or with frames ahead.
            x: the frames before them, `(n, past, channels, height, width)`, perhaps with actions.
            k: how many futures.
            noise: σ; None takes a noise of which a twentieth of what changes from frame to frame
                is 2 σ² to all pixels together, so that two futures that differ by as much as
                frames do are told apart for certain, and slighter differences are not.
            widths: channels of the network after each halving of the image.
            mixed_precision: whether the convolutions compute in bfloat16 in training.
            generator: the start of the weights.

        Raises:
            CapabilityError: x is missing.
            ShapeError: x does not hold frames of the size of y.
            DomainError: an option is out of range, or nothing moves.
        """
        if x is None:
            raise CapabilityError(
                "NextFrame predicts y from frames before it, and the data have no x. Cut clips "
                "first, for example with lowland.data.clips(path) or "
                "lowland.pretext.Future(past=3).windows(frames)."
            )
        event = tuple(y.shape[1:])
        _check_frames(y, x)
        if noise is None:
            noise = math.sqrt(_SHARE * _change(y, x) / 2)
        actions = x.shape[2] - event[-3]
        energy = cls(event, x.shape[1], k, noise, actions, widths, mixed_precision, generator)
        return energy.to(dtype=y.dtype, device=y.device)

    @staticmethod
    def noisy(
        y: Tensor,
        *,
        x: Tensor,
        m: int = 8,
        widths: Sequence[int] = (32, 64, 128),
        generator: torch.Generator | None = None,
    ) -> VAE:
        r"""The same with a continuous code: a `VAE` of frames, given the frames before them.

        $$E(x, y, z) = \frac{\|y - \mathrm{Dec}(z, x)\|^2}{2 \sigma^2} + d \log \sigma
          + \tfrac12 \|z\|^2$$

        An encoder that sees y guesses the code in training, with noise on it that limits what the
        code can tell; train it by `Variational`. The futures of a past are then decoded from normal
        codes: see `rollout`.

        Args:
            y: the frames to predict, `(n, channels, height, width)` or with frames ahead.
            x: the frames before them, `(n, past, channels, height, width)`.
            m: how many elements a code has.
            widths: channels of both networks after each halving of the image.
            generator: the start of the weights.

        Raises:
            ShapeError: x does not hold frames of the size of y.
            DomainError: an option is out of range, or nothing moves.
        """
        event = tuple(y.shape[1:])
        _check_frames(y, x)
        change = _change(y, x)
        shape = (event, x.shape[1], x.shape[2], m, tuple(widths))
        encoder, decoder = FrameEncoder(*shape, generator), FrameDecoder(*shape, generator)
        sigma = math.sqrt(change / math.prod(event[-3:]))
        energy = VAE(encoder, decoder, event, m, sigma, conditional=True)
        return energy.to(dtype=y.dtype, device=y.device)

    def futures(self, x: Tensor | None) -> Heads:
        """What may come after x `(*batch, past, channels, height, width)`, one frame a code.

        Raises:
            CapabilityError: x is None.
            ShapeError: x does not hold the past.
        """
        if x is None:
            raise CapabilityError("NextFrame predicts y from the frames before it: give x.")
        if tuple(x.shape[-4:]) != self.inputs:
            raise ShapeError(
                f"'x' of NextFrame must have shape (*batch, past, channels, height, width), here "
                f"(*batch, {', '.join(map(str, self.inputs))}). Got {tuple(x.shape)}."
            )
        for axis in range(x.dim() - 4):
            if x.stride(axis) == 0 and x.shape[axis] > 1:  # the same past again and again
                once = self.futures(x.narrow(axis, 0, 1))
                y, mass = once.y, once.log_mass
                sizes = [-1] * axis + [x.shape[axis]]
                return Heads(
                    y.expand(*sizes, *[-1] * (y.dim() - axis - 1)),
                    mass.expand(*sizes, *[-1] * (mass.dim() - axis - 1)),
                )
        batch = x.shape[:-4]
        shown = x.reshape(-1, *self.inputs)
        fast = self.mixed_precision and self.training and x.dtype == torch.float32
        with torch.autocast(x.device.type, torch.bfloat16, enabled=fast):
            change, features = self.net(shown.flatten(1, 2))
        change, features = change.to(x.dtype), features.to(x.dtype)
        change = change.reshape(len(shown), self.k, -1, *self.event[-3:])
        last = shown[:, -1, : self.event[-3]]
        y = (change + last[:, None, None]).reshape(*batch, self.k, *self.event)
        return Heads(y, self.mass(features).log_softmax(-1).reshape(*batch, self.k))

    def tabulate(self, y: Tensor, *, x: Tensor | None = None) -> Tensor:
        """E(x, y, z) of every code from one pass, `(*batch, k)`."""
        heads = self.futures(x)
        axes = len(self.event)
        miss = (y.unsqueeze(-axes - 1) - heads.y).square().flatten(-axes).sum(-1)
        return miss / (2 * self.noise**2) - heads.log_mass

    def forward(self, y: Tensor, *, x: Tensor | None = None, z: Tensor | None = None) -> Tensor:
        """The miss of the future that z says, and the code's charge, `(*batch,)`."""
        table = self.tabulate(y, x=x)
        index = self.given(z).expand(table.shape[:-1]).unsqueeze(-1)
        return table.gather(-1, index).squeeze(-1)

    def decode(self, z: Tensor, *, x: Tensor | None = None) -> Tensor:
        """The future that z says, `(*batch, *event)`."""
        heads = self.futures(x)
        index = z.expand(heads.log_mass.shape[:-1]).reshape(*heads.log_mass.shape[:-1], 1)
        index = index.reshape(*index.shape, *[1] * len(self.event))
        wide = index.expand(*index.shape[: -len(self.event)], *self.event)
        return heads.y.gather(z.dim(), wide).squeeze(z.dim())

    def complete_codes(
        self, y: Tensor, observed: Tensor, z: Tensor, *, x: Tensor | None = None
    ) -> Tensor:
        """Y with its hidden part taken from the future that z says."""
        return torch.where(observed, y, self.decode(z, x=x))

    def sample_gibbs(
        self,
        n: int,
        *,
        beta: float,
        generator: torch.Generator | None,
        x: Tensor | None = None,
    ) -> Tensor:
        """Exact draws, `(n, *event)`: a code by its mass, its future, plus normal noise.

        At another beta than 1 the masses are to its power, and the noise has 1 / beta of its
        variance. `energy.decode` of codes is free of the noise.
        """
        heads = self.futures(x)
        shares = (beta * heads.log_mass).softmax(-1).cumsum(-1)
        drawn = uniform((n, 1), generator, like=shares)
        z = (shares <= drawn).sum(-1).clamp(max=self.k - 1)
        frames = heads.y[torch.arange(n, device=z.device), z]
        noise = normal_like(frames, generator)
        return frames + noise * (self.noise / math.sqrt(beta))

    @torch.no_grad()
    def split_codes(
        self, used: Tensor, unused: Tensor, *, generator: torch.Generator | None
    ) -> None:
        """Start unused codes again beside used ones, half of whose mass they take."""
        head = self.net.head
        for tensor in head.parameters():
            rows = tensor.unflatten(0, (self.k, -1))
            copies = rows[used]
            apart = APART * copies.square().mean().sqrt()
            rows[unused] = copies + apart * normal_like(copies, generator)
        self.mass.bias[used] -= math.log(2)
        self.mass.weight[unused] = self.mass.weight[used]
        self.mass.bias[unused] = self.mass.bias[used]


def _check_frames(y: Tensor, x: Tensor) -> None:
    event = tuple(y.shape[1:])
    fits = x.dim() == 5 and len(event) in (3, 4) and x.shape[-2:] == y.shape[-2:]
    if not fits or x.shape[2] < event[-3]:
        raise ShapeError(
            f"'x' of NextFrame must hold frames (n, past, channels, height, width) of the size of "
            f"y, {event}. Got {tuple(x.shape)}."
        )


def _change(y: Tensor, x: Tensor) -> float:
    """The mean over clips of the squared change from the last frame of x to the first of y."""
    first = y if y.dim() == 4 else y[:, 0]
    last = x[:, -1, : first.shape[1]]
    change = float((first - last).double().square().flatten(1).sum(1).mean())
    if not change > 0:
        raise DomainError(
            "No frame differs from the one before it, so that the data tell nothing of how frames "
            "change. Take clips in which something moves."
        )
    return change
