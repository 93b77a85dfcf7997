"""What FouriScale does inside a UNet: which layers, which rows, and the hooks on them. Knows torch only."""
