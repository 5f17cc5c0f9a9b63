"""``python -m annoloop``: the command line."""

from annoloop.cli import main

main()
