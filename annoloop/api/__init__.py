"""annoloop from Python: the commands as functions, which ``import annoloop`` offers; see ``annoloop/__init__.py``."""
