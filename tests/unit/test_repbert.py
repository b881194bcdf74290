"""RepBERT: the multi-label margin loss."""

from __future__ import annotations

import torch
from batches import assert_same, in_batch, lists, loss_of, scores_of


def test_the_loss_is_a_plain_loop_over_pairs() -> None:
    scores = scores_of(4, 8, spread=0.8)
    masked = ((0, 2), (3, 5))
    terms = []
    for row in range(4):
        met = [column for column in range(8) if (row, column) not in masked]
        hinges = [(1 - (scores[row, row] - scores[row, m])).clamp_min(0) for m in met if m != row]
        terms.append(torch.stack(hinges).sum() / len(met))
    assert_same(loss_of(in_batch(scores, masked), "multilabel_margin"), torch.stack(terms).mean(), scores)


def test_it_is_torchs_multilabel_margin_loss_where_nothing_is_masked() -> None:
    scores = scores_of(5, 10, seed=4)
    targets = torch.full((5, 10), -1)
    targets[:, 0] = torch.arange(5)
    theirs = torch.nn.functional.multilabel_margin_loss(scores, targets)
    assert_same(loss_of(in_batch(scores), "multilabel_margin"), theirs, scores)


def test_a_lead_of_the_margin_costs_nothing() -> None:
    scores = torch.tensor([[3.0, 2.0, 1.9]], requires_grad=True)
    assert loss_of(lists(scores), "multilabel_margin").item() == 0
    assert loss_of(lists(scores), "multilabel_margin", margin=1.1).item() > 0
