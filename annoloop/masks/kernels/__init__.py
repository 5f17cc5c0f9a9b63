"""The loops over pixels and over run lengths, compiled to machine code: the only home of Numba."""
