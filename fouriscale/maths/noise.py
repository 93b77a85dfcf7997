"""How much signal and noise a latent holds at a timestep, and what a UNet's prediction says of the clean latent."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import SettingsError

PREDICTIONS = ("epsilon", "v_prediction")
LEAST_SIGNAL = 1e-12  # of ᾱ, for models with zero terminal SNR: log σ stays finite


class NoiseSchedule:
    """ᾱ by timestep, and what the UNet predicts. Latents are `a·x0 + s·noise` with a = √ᾱ and s = √(1 − ᾱ).

    alphas_cumprod: ᾱ for the timesteps 0 … n − 1, each in [0, 1], falling. prediction: "epsilon" or "v_prediction".
    assumed: True where no host said which schedule the model has. Raises SettingsError for anything else.
    """

    def __init__(
        self, alphas_cumprod: torch.Tensor | Sequence[float], prediction: str = "epsilon", *, assumed: bool = False
    ):
        if prediction not in PREDICTIONS:
            raise SettingsError("prediction", prediction, "one of " + ", ".join(PREDICTIONS))
        values = torch.as_tensor(alphas_cumprod).detach().to("cpu", torch.float64).flatten()
        if values.numel() < 2 or not bool(((values >= 0) & (values <= 1)).all()):
            raise SettingsError("alphas_cumprod", tuple(values.shape), "two or more numbers from 0 to 1")
        self.prediction, self.assumed = prediction, assumed
        kept = values.clamp(LEAST_SIGNAL, 1.0 - LEAST_SIGNAL)
        self._log_sigmas = ((1.0 - kept) / kept).log() / 2
        self._tables: dict[torch.device, torch.Tensor] = {}

    @classmethod
    def stable_diffusion(cls, prediction: str = "epsilon") -> NoiseSchedule:
        """The schedule that SD 1.x, 2.x and XL were trained with: β from 0.00085 to 0.012, linear in its root."""
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        return cls((1.0 - betas).cumprod(0), prediction, assumed=True)

    def levels(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(a, s) for timesteps (n,), whole or between: float32, each (n, 1, 1, 1) or, for one timestep, (1, 1, 1, 1).

        Between whole timesteps log σ is linear, as samplers have it. Nothing is copied from the device.
        """
        t = timesteps.detach().float().reshape(-1)
        table = self._tables.get(t.device)
        if table is None:
            table = self._tables[t.device] = self._log_sigmas.to(torch.float32).to(t.device)
        t = t.clamp(0, len(table) - 1)
        low = t.floor().long().clamp(max=len(table) - 2)
        sigma = torch.lerp(table[low], table[low + 1], t - low).exp()
        a = (1.0 + sigma**2).rsqrt()
        return a.view(-1, 1, 1, 1), (a * sigma).view(-1, 1, 1, 1)

    def clean(self, x: torch.Tensor, predicted: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The clean latent that `predicted` means for the noisy `x`, both (n, c, h, w); float32."""
        a, s = self.levels(timesteps)
        x, predicted = x.float(), predicted.float()
        return (x - s * predicted) / a if self.prediction == "epsilon" else a * x - s * predicted

    def predicted(self, x: torch.Tensor, clean: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The reverse: what a UNet predicts for `x` if it takes `clean` for the clean latent; float32."""
        a, s = self.levels(timesteps)
        noise = (x.float() - a * clean) / s
        return noise if self.prediction == "epsilon" else a * noise - s * clean
