"""``annoloop init``: annoloop.yaml from what is found."""
