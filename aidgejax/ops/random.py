"""Operators that draw random numbers, from an explicit key."""
