import pytest
import torch
from torch import nn

from facewright.errors import ConfigError
from facewright.personalise import Mapping, MappingConfig

SMALL = MappingConfig(identity_width=24, expression_width=8, width=16, word_width=12)


@pytest.fixture
def mapping() -> Mapping:
    torch.manual_seed(0)
    network = Mapping(SMALL).eval()
    nn.init.normal_(network.null_exp)
    return network


def test_the_stand_in_is_used_where_no_expression_is_given(mapping: Mapping) -> None:
    identity, expression = torch.randn(3, 24), torch.randn(3, 8)
    without = mapping(identity)
    torch.testing.assert_close(mapping(identity, mapping.null_exp.expand(3, -1)), without)
    torch.testing.assert_close(mapping(identity, expression, given=torch.zeros(3)), without)
    given = mapping(identity, expression)
    torch.testing.assert_close(mapping(identity, expression, given=torch.ones(3)), given)
    mixed = mapping(identity, expression, given=torch.tensor([True, False, True]))
    for word, with_it, without_it in zip(mixed, given, without, strict=True):
        torch.testing.assert_close(word, torch.stack([with_it[0], without_it[1], with_it[2]]))


def test_the_two_words_have_weights_of_their_own(mapping: Mapping) -> None:
    first, last = mapping(torch.randn(2, 24))
    assert first.shape == last.shape == (2, 12)
    first.sum().backward()
    assert all(parameter.grad is None for parameter in mapping.i2t_last.parameters())
    assert mapping.null_exp.grad is not None
    assert not [parameter for parameter in mapping.i2t_first.parameters() if parameter.grad is None]


def test_dropout_acts_in_training_only(mapping: Mapping) -> None:
    identity = torch.randn(2, 24)
    assert torch.equal(mapping(identity)[0], mapping(identity)[0])
    mapping.train()
    assert not torch.equal(mapping(identity)[0], mapping(identity)[0])


def test_bf16(mapping: Mapping) -> None:
    identity, expression = torch.randn(2, 24), torch.randn(2, 8)
    plain = mapping(identity, expression)[0]
    half = mapping.bfloat16()(identity.bfloat16(), expression.bfloat16(), given=torch.ones(2))[0]
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).abs().max() < 0.05 * plain.std()


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="layers must be at least 1, got 0"):
        MappingConfig(layers=0)
    with pytest.raises(ConfigError, match="dropout"):
        MappingConfig(dropout=1.0)
