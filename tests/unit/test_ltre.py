"""LTRe: ADORE's lists, with all pairs of a list alike."""

from __future__ import annotations

import torch
from batches import assert_same, lists, loss_of, scores_of

from hardneg.methods.published import preset


def test_the_loss_is_the_mean_over_pairs_of_each_list() -> None:
    scores = scores_of(4, 9)
    terms = [torch.nn.functional.softplus(row[1:] - row[0]).mean() for row in scores]
    assert_same(loss_of(lists(scores), preset("ltre")["system"]["loss"]), torch.stack(terms).mean(), scores)


def test_rank_does_not_matter_as_it_does_to_adore() -> None:
    scores = torch.zeros(1, 6, requires_grad=True)
    batch = lists(scores, rank=torch.arange(1, 7).view(1, 6))
    alike = torch.autograd.grad(loss_of(batch, "list_ranknet"), scores)[0][0, 1:]
    weighed = torch.autograd.grad(loss_of(batch, "lambda_ranknet", cut=200), scores)[0][0, 1:]
    assert len(set(alike.tolist())) == 1 and len(set(weighed.tolist())) == 5


def test_it_is_adore_but_for_the_loss() -> None:
    ltre, adore = (preset(name)["system"] for name in ("ltre", "adore"))
    assert {key for key in adore if adore[key] != ltre[key]} == {"loss"}
