"""One module for each operation: project and server come in, a frozen report goes out; nothing is printed."""
