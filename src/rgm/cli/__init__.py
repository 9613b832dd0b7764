"""The command line, one file a group of commands; `rgm.cli.app` puts them together."""

from rgm.cli.app import main

__all__ = ["main"]
