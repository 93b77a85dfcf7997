"""Adapters: each answers for one host which UNet, which rows are cond, how big the picture is, how far the run is."""
