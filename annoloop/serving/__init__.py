"""The project's model as a tool in CVAT: what ``annoloop serve`` answers, and the same as a function for cvat-cli."""
