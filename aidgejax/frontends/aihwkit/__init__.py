"""The aihwkit front end: `aihwkit.simulator.parameters`, `.configs`, `.presets`, `.nn`, `.optim`.

To port a script, put `aidgejax.frontends.` before the import.
"""
