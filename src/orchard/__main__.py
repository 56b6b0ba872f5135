"""``python -m orchard``: the command line."""

from .cli import main

main()
