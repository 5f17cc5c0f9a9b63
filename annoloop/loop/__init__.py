"""One module for each operation of the loop: project and server come in, a frozen report goes out; nothing is printed."""
