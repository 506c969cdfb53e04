"""Training: steps and epochs, optimizers, schedules, data, metrics and checkpoints, as pure functions of a state."""
