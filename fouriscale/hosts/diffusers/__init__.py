"""FouriScale on diffusers pipelines."""
