"""The same function on all cores or on a Ray cluster, and how children are started."""
