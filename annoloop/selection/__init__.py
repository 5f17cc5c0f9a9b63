"""Which images next: scoring, criteria, label confidence, choosing, and the request that asks for it."""
