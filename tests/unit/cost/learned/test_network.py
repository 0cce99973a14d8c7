"""The two forms of the network: pruner.md section 8, facts 11, 12 and 15."""

import pytest
import torch

from mschedx.cost.learned.examples import Batch
from mschedx.cost.learned.network import AttentionNetwork, NetworkForm, make_network

PUBLISHED = NetworkForm.as_published()


def network(form):
    return make_network(form, torch.Generator().manual_seed(0)).eval()


def batch(form, n=6, statements=4, accesses=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        torch.rand((n, statements, form.statement_columns), generator=generator),
        torch.ones((n, statements), dtype=torch.bool),
        torch.rand((n, accesses, form.access_columns), generator=generator),
        torch.ones((n, accesses), dtype=torch.bool),
    )


def with_accesses(b, order):
    return Batch(b.statements, b.is_statement, b.accesses[:, order], b.is_access[:, order])


def test_published_shapes():
    """Fact 11: 417 409 parameters in 25 tensors."""
    made = network(PUBLISHED)
    assert sum(p.numel() for p in made.parameters() if p.requires_grad) == 417_409
    state = made.state_dict()
    assert len(state) == 25
    assert state["statements.0.weight"].shape == (256, 174)
    assert state["accesses.0.weight"].shape == (64, 23)
    assert state["attention.in_proj_weight"].shape == (384, 128)


def test_only_the_improved_form_knows_the_order_of_accesses():
    """Fact 12."""
    for form, same in ((PUBLISHED, True), (NetworkForm(), False)):
        made, one = network(form), batch(form)
        order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
        shuffled = made(with_accesses(one, order))
        assert torch.allclose(made(one), shuffled, atol=1e-5) is same


@pytest.mark.parametrize("form", [PUBLISHED, NetworkForm()], ids=["published", "improved"])
def test_a_score_does_not_depend_on_the_others_of_its_batch(form):
    """Fact 15; one program alone is scored too."""
    made, b = network(form), batch(form)
    alone = Batch(b.statements[:1], b.is_statement[:1], b.accesses[:1], b.is_access[:1])
    assert made(alone).shape == (1,)
    assert torch.allclose(made(b)[:1], made(alone), atol=1e-5)


def test_padding_changes_nothing():
    made, b = network(NetworkForm()), batch(NetworkForm())

    def padded(rows, real):
        more = torch.full((len(rows), 3, rows.shape[2]), 7.0)
        return torch.cat([rows, more], dim=1), torch.cat([real, real[:, :3] & False], dim=1)

    longer = Batch(*padded(b.statements, b.is_statement), *padded(b.accesses, b.is_access))
    assert torch.allclose(made(b), made(longer), atol=1e-5)


def test_a_program_without_accesses_or_statements_has_a_score():
    made, b = network(NetworkForm()), batch(NetworkForm())
    nothing = Batch(b.statements, b.is_statement & False, b.accesses, b.is_access & False)
    scores = made(nothing)
    assert torch.isfinite(scores).all()
    assert torch.allclose(scores, scores[:1].expand(len(scores)))


def test_initial_weights_come_from_the_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = make_network(NetworkForm(), torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    second = make_network(NetworkForm(), torch.Generator().manual_seed(1))
    third = make_network(NetworkForm(), torch.Generator().manual_seed(2))
    assert isinstance(first, AttentionNetwork)
    pairs = list(zip(first.parameters(), second.parameters(), third.parameters()))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)
