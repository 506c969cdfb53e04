"""The version functions that every module of Aidge has."""

from importlib.metadata import PackageNotFoundError, version

AIDGE = "0.10.1"  # whose names, arguments and defaults these modules have


def get_project_version() -> str:
    """The version of Aidge that is imitated."""
    return AIDGE


def get_git_hash() -> str:
    """aidgejax's own version, in the place of Aidge's commit."""
    try:
        return f"aidgejax-{version('aidgejax')}"
    except PackageNotFoundError:
        return "aidgejax"


def show_version() -> None:
    print(f"Aidge {get_project_version()} by {get_git_hash()}")
