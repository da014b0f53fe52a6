"""The package's own errors: one clear sentence that says what, where and the cure."""


class FaceError(Exception):
    """Base of every error that facewright raises on purpose.

    `exit_code` is what the command line ends with: 2 when the call, the config or the input is wrong and nothing was
    written, 1 when the work failed part-way and what was made is kept.
    """

    exit_code = 2


class ConfigError(FaceError):
    """A setting is unknown, out of range or contradicts another."""


class InputError(FaceError):
    """The call names something that does not exist or does not fit."""


class DataError(FaceError):
    """A file or a record cannot be used; the message names it."""


class WorkError(FaceError):
    """Work that had begun failed; the message names what was kept."""

    exit_code = 1
