"""aihwkit.simulator.digital_low_precision"""
