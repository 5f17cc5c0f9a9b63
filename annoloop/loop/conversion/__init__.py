"""``annoloop convert``: masks to other formats and back."""
