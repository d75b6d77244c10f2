"""Data in: what users hold becomes a `Dataset` of tensors, checked once.

| file | what it reads |
|---|---|
| `read.py` | the one door: `read(source)` for all of the below |
| `dataset.py` | `Dataset(y, x, labels, names, kind, description, classes)` |
| `toys.py` | points in the plane: the spiral, moons, the ring, the horn, … |
| `densities.py` | the toys' own log densities, by which likelihoods are judged |
| `digits.py` | the 1,797 real digits that scikit-learn carries |
| `binary.py` | bars and stripes, and those digits in black and white |
| `arrays.py` | tensors, NumPy arrays, .npy and .npz files |
| `tables.py` | pandas, polars and pyarrow frames, .csv, .tsv and .parquet files |
| `images.py` | a folder of images |
| `text.py`, `tokenizer.py` | text files as blocks of tokens; WordPiece and byte-pair vocabularies |
| `video.py` | clips of a video file, decoded frame by frame |
| `moving.py` | digits that turn or bounce, every possible future known |
| `stream.py` | blocks of rows of what is larger than memory |

A new source is one file here with a function that returns a `Dataset`, and a line in `read.py`.

Example:
    >>> train, test = read("digits").split(0.2, torch.Generator().manual_seed(0))
    >>> train.event, len(test)
    ((1, 8, 8), 359)
"""

from lowland.data.arrays import from_array
from lowland.data.binary import bars_and_stripes, binary_digits
from lowland.data.dataset import Dataset
from lowland.data.densities import log_density
from lowland.data.digits import digits
from lowland.data.images import image_folder
from lowland.data.moving import Futures, bouncing_digits, turning_digits
from lowland.data.read import read
from lowland.data.stream import Stream, stream
from lowland.data.tables import from_frame
from lowland.data.text import sentences, stream_text, text_file
from lowland.data.tokenizer import Tokenizer
from lowland.data.toys import (
    checkerboard,
    eight_gaussians,
    ellipse,
    horn,
    moons,
    pinwheel,
    ring,
    spiral,
)
from lowland.data.video import Clips, clips

__all__ = [
    "Clips",
    "Dataset",
    "Futures",
    "Stream",
    "Tokenizer",
    "bars_and_stripes",
    "binary_digits",
    "bouncing_digits",
    "checkerboard",
    "clips",
    "digits",
    "eight_gaussians",
    "ellipse",
    "from_array",
    "from_frame",
    "horn",
    "image_folder",
    "log_density",
    "moons",
    "pinwheel",
    "read",
    "ring",
    "sentences",
    "spiral",
    "stream",
    "stream_text",
    "text_file",
    "turning_digits",
]
