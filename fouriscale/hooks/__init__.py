"""What acts on a UNet during sampling: hooks, rows, the session."""
