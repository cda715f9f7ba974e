"""Masked image generation: MaskGIT, Lumina-DiMOO and MIGM-Shortcut (arXiv 2602.23996) on the CPU or any GPU.

>>> import migm
>>> model = migm.Model.open("scenes-text")
>>> pictures = model.generate("two foxes in the snow", seeds=range(4), budget=4)
>>> pictures.images.shape
(4, 128, 128, 3)
"""

from . import sheet
from ._migm import __version__
from .errors import DeviceError, MigmError, ModelError, SettingError
from .model import Model
from .pictures import Pictures, Step
from .session import Session

__all__ = [
    "DeviceError",
    "MigmError",
    "Model",
    "ModelError",
    "Pictures",
    "Session",
    "SettingError",
    "Step",
    "__version__",
    "sheet",
]
