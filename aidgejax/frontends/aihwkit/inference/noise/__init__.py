"""aihwkit.inference.noise"""
