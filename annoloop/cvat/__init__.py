"""A CVAT server: its session, wire format, tasks, shapes, guide, credentials.  Knows no project."""
