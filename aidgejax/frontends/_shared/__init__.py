"""Mechanisms that several front ends use."""
