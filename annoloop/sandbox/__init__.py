"""The embedded CVAT: a server that speaks the part of CVAT's REST API that cvat-sdk uses.

It is a stand-in for trying annoloop and for testing it, and says so in every page that it shows; it
is neither CVAT nor a fake inside our client. ``python -m annoloop.sandbox --state DIR`` starts it.
"""
