"""Labelled synthetic faces and personalised pictures of given identities.

The rooms are imported by name (`from facewright import encoders`); importing the package itself reads no file, touches
no device and changes no setting.
"""

from facewright.errors import ConfigError, DataError, FaceError, InputError, WorkError

__version__ = "0.1.0"

__all__ = ["ConfigError", "DataError", "FaceError", "InputError", "WorkError", "__version__"]
