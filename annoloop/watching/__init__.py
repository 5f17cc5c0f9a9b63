"""The loop by itself: what is due is seen, done and told, and what failed is tried again."""
