"""Energies, one model a file; the command line and the tests find whatever is listed here."""

from lowland.energies.analytic import DoubleWell, Gaussian, Ring
from lowland.energies.autoencoder import Autoencoder
from lowland.energies.ellipse import Ellipse
from lowland.energies.gaussian_mixture import GaussianMixture
from lowland.energies.glo import GLO
from lowland.energies.kmeans import KMeans
from lowland.energies.least_squares import LeastSquares
from lowland.energies.network import Network
from lowland.energies.pca import PCA, ProbabilisticPCA
from lowland.energies.sparse_coding import SparseCoding

__all__ = [
    "GLO",
    "PCA",
    "Autoencoder",
    "DoubleWell",
    "Ellipse",
    "Gaussian",
    "GaussianMixture",
    "KMeans",
    "LeastSquares",
    "Network",
    "ProbabilisticPCA",
    "Ring",
    "SparseCoding",
]
