"""aihwkit.inference.converter"""
