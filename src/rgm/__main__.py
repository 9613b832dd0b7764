"""`python -m rgm` is the command line."""

from rgm.cli import main

main()
