"""Public checkpoints of the field: one strict, safe way in for every layout."""

from facewright.checkpoints.convert import iresnet_from_ir
from facewright.checkpoints.importing import import_checkpoint
from facewright.checkpoints.layouts import Generation, Layout
from facewright.checkpoints.loading import identify, load
from facewright.checkpoints.table import LAYOUTS

__all__ = ["LAYOUTS", "Generation", "Layout", "identify", "import_checkpoint", "iresnet_from_ir", "load"]
