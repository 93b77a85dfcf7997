"""What measures: benchmarks, pictures, the naive implementation. Never runs for a user of a WebUI."""
