"""aihwkit.nn.low_precision_modules"""
