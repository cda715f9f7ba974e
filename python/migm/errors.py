"""What can go wrong. Messages are the library's sentences: what was wrong, where, and what was expected."""


class MigmError(Exception):
    """Any failure of migm."""


class SettingError(MigmError, ValueError):
    """Something was asked for that cannot be: a setting out of range, a class or a prompt that the model does not have."""


class ModelError(MigmError):
    """A model folder or a file is missing, broken, or of another kind."""


class DeviceError(MigmError, RuntimeError):
    """There is no such device, or it failed."""
