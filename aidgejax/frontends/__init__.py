"""Front ends: the import paths of other systems, so that their users' scripts run with only the import changed.

To port a script, put `aidgejax.frontends.` before the import.  A front end holds state and forwards calls; what
it computes stands in the core, where a convention that differs between systems is a named option.
"""
