"""aihwkit.utils"""
