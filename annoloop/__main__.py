"""``python -m annoloop``: the command line."""

from annoloop.cli.main import main

main()
