"""The aihwkit front end: `aihwkit.simulator.parameters`, `.configs`, `.presets`, `.nn`, `.optim`.

To port a script, put `aidgejax.frontends.` before the import.
"""

from .._shared.absent_modules import refuse_modules
from .version import __version__

refuse_modules(
    __name__,
    {
        "cloud": "composer and cloud runs are IBM's service",
        "experiments": "write the loop, or use aidgejax.train on a graph that analog.convert_to_analog has made",
        "extension": "its C++ operators are not built here",
        "utils.fitting": "it fits pulsed devices, whose in-memory training is out of scope",
        "utils.visualization": "it draws pulsed devices, whose in-memory training is out of scope",
        "utils.visualization_web": "it draws pulsed devices, whose in-memory training is out of scope",
    },
)

__all__ = ["__version__"]
