"""aihwkit.simulator: configs and their parameters; the simulation itself is aidgejax.analog."""
