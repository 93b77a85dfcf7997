"""Low-pass filters and FreeU, as small matrix products."""
