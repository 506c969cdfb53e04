"""aihwkit.optim: optimizers that clip and map the weights of analog layers after each step.

With torch they are torch's optimizers.  A graph from aidgejax.analog.convert_to_analog takes
`aidgejax.analog.with_post_update(aidgejax.optim.sgd(), graph)` instead, all of it inside the compiled step.
"""

from .analog_optimizer import AnalogAdam, AnalogOptimizer, AnalogOptimizerMixin, AnalogSGD

__all__ = ["AnalogAdam", "AnalogOptimizer", "AnalogOptimizerMixin", "AnalogSGD"]
