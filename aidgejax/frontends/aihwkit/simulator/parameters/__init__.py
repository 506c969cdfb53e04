"""aihwkit.simulator.parameters: dataclasses, one module per part of a config."""
