"""The memory of a project: ledger, mask history, what changed on disk, near-duplicates.  Knows no CVAT."""
