"""aihwkit.nn.modules: layers by the module that the original defines them in."""
