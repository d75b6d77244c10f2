import lowland as ll
from lowland.train import Strategy
from lowland.train.strategies import SEVEN


def test_the_seven_are_seven() -> None:
    assert [row.id for row in SEVEN] == ["C1", "C2", "C3", "A1", "A2", "A3", "A4"]


def test_each_public_strategy_stands_in_the_table_under_its_kind() -> None:
    public = {
        getattr(ll, name)
        for name in ll.__all__
        if isinstance(getattr(ll, name), type) and issubclass(getattr(ll, name), Strategy)
    }
    assert public == {cls for row in SEVEN for cls in row.classes}
    for row in SEVEN:
        for cls in row.classes:
            if row.id != "A4":  # denoising score matching stands under both kinds
                assert cls.kind == ("contrastive" if row.id[0] == "C" else "architectural")


def test_the_energies_named_exist() -> None:
    for row in SEVEN:
        assert set(row.energies) <= set(ll.energies.__all__)
