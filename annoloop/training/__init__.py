"""Training and prediction from outside: records, the child process, shards.  Imports no torch."""
