"""FiftyOne, whose only home this is: the dataset, masks for the App, browse, and a gallery without it."""
