"""Time and memory of FouriScale beside the plain UNet and a naive implementation. Knows diffusers."""
