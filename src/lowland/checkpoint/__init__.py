"""A trained energy on disk: tensors as safetensors, everything else as JSON, never code.

`describe` turns an energy into JSON and back, `files` writes and reads what cannot be half-written,
`store` is the pair that users call: `save` and `load`.
"""

from lowland.checkpoint.describe import public_name
from lowland.checkpoint.files import read_bundle, write_bundle
from lowland.checkpoint.store import check_state, load, save

__all__ = ["check_state", "load", "public_name", "read_bundle", "save", "write_bundle"]
