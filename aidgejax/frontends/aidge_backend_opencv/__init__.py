"""aidge_backend_opencv: databases of pictures and their transformations.

Aidge's read files through OpenCV, which is not used here.  What is here: the same split of a database into a class with
get_item, len and get_nb_modalities (aidge_core.Database); every other name says what to use instead.
"""

from .._shared.absent_names import absent_name
from ..aidge_core.data import Database, DataProvider
from ..aidge_core.version import get_git_hash, get_project_version, show_version
from .databases import CIFAR10, CIFAR100, MNIST

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "DataProvider",
    "Database",
    "get_git_hash",
    "get_project_version",
    "show_version",
]

_OWN = (
    "derive from aidge_core.Database (get_item(i) -> [Tensor per modality], len(), get_nb_modalities()) and read the "
    "files there, with NumPy, Pillow or scikit-learn"
)
_TRANSFORM = (
    "give DataProvider.transforms(modality, graph) a GraphView of aidge_core operators (Cast, Resize, Pad, Slice, Sub, "
    "Div ...), or transform the arrays in get_item of your aidge_core.Database"
)
ABSENT = {
    **dict.fromkeys(("ILSVRC2012_IMG", "Database_MNIST", "COCO", "DIR", "DIRDatabase", "GTSRB"), _OWN),
    **dict.fromkeys(("load_image", "ImageReader", "opencv_to_tensor", "tensorOpencv"), _OWN),
    **dict.fromkeys(
        (
            *("RescaleTransformation", "ColorSpaceTransformation", "PadCropTransformation", "NormalizeTransformation"),
            *(
                "RangeAffineTransformation",
                "FlipTransformation",
                "ApodizationTransformation",
                "CompositeTransformation",
            ),
            *("AffineTransformation", "FilterTransformation", "NoiseTransformation", "SliceExtractionTransformation"),
            *("ThresholdTransformation", "TrimTransformation", "DistortionTransformation", "EqualizeTransformation"),
        ),
        _TRANSFORM,
    ),
}


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)
