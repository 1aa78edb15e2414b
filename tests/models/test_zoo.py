"""The networks of the table as names of the package."""

import learnkit.models
from learnkit.models import zoo
from learnkit.models.architectures import ARCHITECTURES


def test_every_architecture_is_a_name_of_the_package() -> None:
    assert {name: getattr(zoo, name) for name in zoo.__all__} == ARCHITECTURES
    assert {name: getattr(learnkit.models, name) for name in ARCHITECTURES} == ARCHITECTURES
    assert set(ARCHITECTURES) < set(learnkit.models.__all__)
