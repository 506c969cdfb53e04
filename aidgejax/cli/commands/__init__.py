"""One module per command; see aidgejax/cli/main.py for what it holds."""
