"""Other people's folders: how images, masks, splits and names are found in them."""
