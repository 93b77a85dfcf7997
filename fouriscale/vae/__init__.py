"""Decoding large pictures tile by tile, with the result of an untiled decode."""
