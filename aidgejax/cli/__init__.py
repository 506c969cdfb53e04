"""The command line, `python -m aidgejax`: one module per command."""
