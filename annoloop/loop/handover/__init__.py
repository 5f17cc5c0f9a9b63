"""``annoloop export``, ``snapshot`` and ``diff``: labels of any round and models, given to others and compared."""
