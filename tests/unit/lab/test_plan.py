"""The order of blocks."""

from collections import Counter

from costlab.lab.plan import plan


def order(planned):
    return "".join(block.variant for block in planned)


def test_two_variants_alternate_abba_baab():
    assert order(plan(["A", "B"], 8, seed=1)) in ("ABBABAABABBABAAB", "BAABABBABAABABBA")


def test_each_of_two_comes_first_equally_often_in_four_rounds():
    for seed in range(20):
        firsts = [block.variant for block in plan(["A", "B"], 4, seed)][::2]
        assert Counter(firsts) == {"A": 2, "B": 2}


def test_which_comes_first_depends_on_the_seed():
    assert {order(plan(["A", "B"], 1, seed)) for seed in range(20)} == {"AB", "BA"}


def test_the_same_seed_gives_the_same_plan():
    assert plan(["A", "B", "C"], 10, seed=5) == plan(["A", "B", "C"], 10, seed=5)


def test_another_seed_gives_another_plan():
    assert plan(["A", "B", "C"], 10, seed=5) != plan(["A", "B", "C"], 10, seed=6)


def test_a_round_holds_every_variant_once_with_the_same_requests():
    planned = plan(["A", "B", "C"], 6, seed=2)
    for number in range(1, 7):
        own = [block for block in planned if block.round == number]
        assert sorted(block.variant for block in own) == ["A", "B", "C"]
        assert len({block.seed for block in own}) == 1


def test_rounds_have_different_requests():
    assert len({block.seed for block in plan(["A", "B"], 10, seed=3)}) == 10
