"""A teacher that follows the encoder: flags of noisy pairs, and a moving average of the weights (NPC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from hardneg.methods.draws import EncodePlain, Followed, Positions, Scores

Flags = npt.NDArray[np.bool_]


class SelfTeacher:
    """Flags and teacher; see `hardneg.methods.draws.Follower`.

    Args:
        alpha: the share of its weights that the teacher keeps at a step.
        negatives: random passages that a pair's perplexity is measured among.

    Attributes:
        weights: of the teacher, by the names of the encoder's parameters.
    """

    def __init__(self, alpha: float, negatives: int) -> None:
        self._alpha, self._negatives = alpha, negatives
        self.weights: dict[str, torch.Tensor] = {}
        self._keys: Positions = np.zeros(0, np.int64)
        self._clean: Flags = np.zeros(0, bool)
        self._passages, self._temperature = 1, 1.0

    @property
    def facts(self) -> dict[str, int]:
        """How many judged pairs are flagged, of how many."""
        return {"pairs": len(self._clean), "pairs_flagged_as_noise": int((~self._clean).sum())}

    def before(self, step: int, followed: Followed, module: torch.nn.Module, encode: EncodePlain) -> None:
        """theta* <- alpha theta* + (1 - alpha) theta; and at the start of an epoch, new flags."""
        import torch

        self._passages, self._temperature = followed.collection, followed.temperature
        self._keys = followed.queries * followed.collection + followed.passages
        with torch.no_grad():
            for name, own in module.named_parameters():
                if name in self.weights:
                    self.weights[name] = self.weights[name].to(own.device).lerp(own.detach(), 1 - self._alpha)
                else:
                    self.weights[name] = own.detach().clone()
        if step % followed.epoch == 0 or len(self._clean) != len(self._keys):
            rng = np.random.default_rng([followed.seed, step, 4])
            drawn = rng.integers(followed.collection, size=self._negatives)
            self._clean = lower_component(perplexities(followed, drawn, encode)) > 0.5

    def teach(self, queries: Positions, passages: Positions, encode: EncodePlain) -> tuple[torch.Tensor, Flags]:
        """The teacher's scores float32 [B, C], and whether pairs are clean, bool [B, C]; unjudged pairs are."""
        asked, found = encode("queries", queries, self.weights), encode("passages", passages, self.weights)
        wanted = queries[:, None] * self._passages + passages
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return asked @ found.T / self._temperature, (self._keys[at] != wanted) | self._clean[at]

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps."""
        weights = {f"weights.{name}": value.float().cpu().numpy() for name, value in self.weights.items()}
        return {"clean": self._clean, **weights}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what a checkpoint kept."""
        import torch

        self._clean = state["clean"].copy()
        kept = {name.removeprefix("weights."): value for name, value in state.items() if name != "clean"}
        self.weights = {name: torch.from_numpy(value.copy()) for name, value in kept.items()}


def perplexities(followed: Followed, negatives: Positions, encode: EncodePlain) -> Scores:
    """-log( e^s(q,d) / (e^s(q,d) + sum over negatives of e^s(q,n)) ) of each judged pair: float64 [m].

    Args:
        followed: the judged pairs.
        negatives: random passages, int64 [n].
        encode: by the encoder that trains.
    """
    import torch

    asked, of = np.unique(followed.queries, return_inverse=True)
    vectors = encode("queries", asked, None)
    others = vectors @ encode("passages", negatives, None).T / followed.temperature
    relevant, which = np.unique(followed.passages, return_inverse=True)
    own = (vectors[of] * encode("passages", relevant, None)[which]).sum(1) / followed.temperature
    itself = torch.from_numpy(negatives == followed.passages[:, None]).to(own.device)
    mass = others[of].masked_fill(itself, -torch.inf).logsumexp(1)
    found: Scores = (torch.logaddexp(own, mass) - own).double().cpu().numpy()
    return found


def lower_component(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The probability that each value is of the component with the lower mean, of a mixture of two Gaussians.

    The fit begins with the halves of the sorted values. Equal values are all of the lower component.

    Args:
        values: float [n].

    Returns:
        float64 [n].
    """
    from sklearn.mixture import GaussianMixture

    values = np.asarray(values, np.float64)
    if len(values) == 0 or np.ptp(values) < 1e-9:
        return np.ones(len(values))
    halves, least = np.array_split(np.sort(values), 2), 1e-6 * values.var()
    mixture = GaussianMixture(
        2,
        weights_init=[len(half) / len(values) for half in halves],
        means_init=[[half.mean()] for half in halves],
        precisions_init=[[[1 / (half.var() + least)]] for half in halves],
        reg_covar=least,
        max_iter=200,
        random_state=0,
    )
    shares = mixture.fit(values[:, None]).predict_proba(values[:, None])
    return np.asarray(shares[:, mixture.means_[:, 0].argmin()], np.float64)
