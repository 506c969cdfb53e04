"""aihwkit.inference.compensation"""
