"""The command line: commands, the screen, and doctor and demo, which know everything.  The only catcher of errors."""
