"""Energies, one model a file; the command line and the tests find whatever is listed here."""

from lowland.energies.amortized import Amortized
from lowland.energies.analytic import DoubleWell, Gaussian, Ring
from lowland.energies.autoencoder import Autoencoder
from lowland.energies.contractive import ContractiveAutoencoder
from lowland.energies.conv_network import ConvNetwork
from lowland.energies.convolutional_sparse_coding import ConvolutionalSparseCoding
from lowland.energies.ellipse import Ellipse
from lowland.energies.gaussian_mixture import GaussianMixture
from lowland.energies.glo import GLO
from lowland.energies.inpainter import Inpainter
from lowland.energies.joint_embedding import JointEmbedding
from lowland.energies.joint_futures import JointFutures
from lowland.energies.kmeans import KMeans
from lowland.energies.least_squares import LeastSquares
from lowland.energies.masked_autoencoder import MaskedAutoencoder
from lowland.energies.masked_image import MaskedImage
from lowland.energies.masked_tokens import MaskedTokens
from lowland.energies.network import Network
from lowland.energies.next_frame import NextFrame
from lowland.energies.pca import PCA, ProbabilisticPCA
from lowland.energies.restricted_boltzmann import RestrictedBoltzmann
from lowland.energies.sparse_coding import SparseCoding
from lowland.energies.vae import VAE
from lowland.energies.vector_quantized import VectorQuantized

__all__ = [
    "GLO",
    "PCA",
    "VAE",
    "Amortized",
    "Autoencoder",
    "ContractiveAutoencoder",
    "ConvNetwork",
    "ConvolutionalSparseCoding",
    "DoubleWell",
    "Ellipse",
    "Gaussian",
    "GaussianMixture",
    "Inpainter",
    "JointEmbedding",
    "JointFutures",
    "KMeans",
    "LeastSquares",
    "MaskedAutoencoder",
    "MaskedImage",
    "MaskedTokens",
    "Network",
    "NextFrame",
    "ProbabilisticPCA",
    "RestrictedBoltzmann",
    "Ring",
    "SparseCoding",
    "VectorQuantized",
]
