"""``annoloop export data``, ``snapshot`` and ``diff``: the labels of any round, given to others and compared."""
