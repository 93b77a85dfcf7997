"""Pure functions: the low-pass filter, the dilation schedule, base sizes. They know numbers and tensors only."""
