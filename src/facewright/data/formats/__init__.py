"""Data sets of the field in any of their formats: records in, records out, the pictures' bytes untouched."""

from facewright.data.formats.detect import FORMATS, open_records
from facewright.data.formats.export import ExportConfig, ExportReport, export_records
from facewright.data.formats.pair_bin import PairBin, draw_pairs
from facewright.data.formats.pixels import Decoder
from facewright.data.formats.records import GAPS, Gaps, Record, Records
from facewright.data.formats.tfrecord import read_latent

__all__ = [
    "FORMATS",
    "GAPS",
    "Decoder",
    "ExportConfig",
    "ExportReport",
    "Gaps",
    "PairBin",
    "Record",
    "Records",
    "draw_pairs",
    "export_records",
    "open_records",
    "read_latent",
]
