"""What a person sees of a report: one function per report, by the name of its class, in one file per family.

The fact to know: a view is found by its report's name, so that showing one report loads nothing for the others.
"""
