"""A Laplacian pyramid: an image as its details at every size."""

import torch
from torch import Tensor

# The binomial filter that stands for a Gaussian of variance one.
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
# An image whose shorter side is less than this is kept as it is.
_SMALLEST = 4


def laplacian_pyramid(image: Tensor) -> list[Tensor]:
    """The bands of images `(n, channels, height, width)`, finest first, the blurred rest last.

    Linear: the pyramid of a difference is the difference of the pyramids.

    Reference:
        The Laplacian Pyramid as a Compact Image Code (Burt and Adelson, 1983),
        https://doi.org/10.1109/TCOM.1983.1095851
    """
    bands = []
    while min(image.shape[-2:]) >= _SMALLEST:
        smaller = _blur(image)[..., ::2, ::2]
        bands.append(image - _enlarge(smaller, image))
        image = smaller
    return [*bands, image]


def _blur(image: Tensor) -> Tensor:
    channels = image.shape[1]
    line = torch.tensor(_BINOMIAL, dtype=image.dtype, device=image.device)
    kernel = torch.outer(line, line).expand(channels, 1, 5, 5)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="reflect")
    return torch.nn.functional.conv2d(padded, kernel, groups=channels)


def _enlarge(smaller: Tensor, like: Tensor) -> Tensor:
    """Zeros between the pixels, blurred, four times as bright."""
    spread = torch.zeros_like(like)
    spread[..., ::2, ::2] = smaller
    return 4 * _blur(spread)
