"""Face encoders: an aligned crop to a unit embedding."""

from facewright.encoders.encoder import Encoder, load
from facewright.encoders.mobilefacenet import MobileFaceNet
from facewright.encoders.slimfacenet import SlimFaceNet

__all__ = ["Encoder", "MobileFaceNet", "SlimFaceNet", "load"]
