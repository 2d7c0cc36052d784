"""The traffic files and what follows from them."""

import copy
import itertools
import json
from collections import Counter

import pytest

from costlab.lab.load.mulberry32 import Mulberry32
from costlab.lab.load.spec import LoadError
from costlab.lab.load.traffic import load_traffic, planned_times
from costlab.lab.load.zipf import Zipf
from tests.unit.load.fake_server import BROWSE, CHECKOUT, LOADTESTS


@pytest.fixture
def refused(tmp_path):
    """refused(change): the message with which a checkout.json altered by `change` is refused."""

    def refuse(change) -> str:
        file = copy.deepcopy(json.loads(CHECKOUT.read_text()))
        change(file)
        path = tmp_path / "odd.json"
        path.write_text(json.dumps(file))
        with pytest.raises(LoadError) as caught:
            load_traffic(path, seed=1, run="r")
        assert str(path) in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize("path", sorted((LOADTESTS / "traffic").glob("*.json")), ids=lambda path: path.name)
def test_every_traffic_file_expands_to_requests_under_api_without_a_placeholder_left(path):
    traffic = load_traffic(path, seed=1, run="r")
    for request in map(traffic.request, range(500)):
        assert request.path.startswith("/api/")
        assert "{" not in request.path + "".join(request.headers.values())
        assert request.body is None or json.loads(request.body)["user_id"] in range(1, 10_001)


def test_the_same_seed_gives_the_same_requests_and_another_seed_gives_others():
    first, again, other = (load_traffic(BROWSE, seed, "r") for seed in (1, 1, 2))
    assert [first.request(i) for i in range(200)] == [again.request(i) for i in range(200)]
    assert [first.request(i) for i in range(200)] != [other.request(i) for i in range(200)]


def test_a_request_does_not_depend_on_those_before_it():
    traffic = load_traffic(BROWSE, 1, "r")
    in_order = [traffic.request(i) for i in range(50)]
    assert [traffic.request(i) for i in reversed(range(50))] == in_order[::-1]


def test_requests_come_in_proportion_to_their_weights():
    traffic = load_traffic(BROWSE, 1, "r")
    counts = Counter(traffic.request(i).name for i in range(10_000))
    assert counts["product_page"] == pytest.approx(4_000, rel=0.05)
    assert counts["order_history"] == pytest.approx(1_500, rel=0.1)
    assert 60 < counts["order_stats"] < 150


def test_an_idempotency_key_names_run_and_request_so_that_no_two_are_equal():
    keys = []
    for run in ("a", "b"):
        traffic = load_traffic(CHECKOUT, 1, run)
        requests = [traffic.request(i) for i in range(300)]
        keys += [request.headers["Idempotency-Key"] for request in requests if request.method == "POST"]
    assert len(keys) > 100
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.update(extra=1), "extra: Extra inputs are not permitted"),
        (lambda f: f.pop("description"), "description: Field required"),
        (lambda f: f["requests"].clear(), "requests: Dictionary should have at least 1 item"),
        (lambda f: f["requests"]["user_profile"].update(weight=0), "requests.user_profile.weight"),
        (lambda f: f["requests"]["user_profile"].update(weight="25"), "requests.user_profile.weight"),
        (lambda f: f["requests"]["user_profile"].update(method="FETCH"), "requests.user_profile.method"),
        (lambda f: f["requests"]["user_profile"].update(path="/users/1"), "requests.user_profile.path"),
        (
            lambda f: f["requests"]["user_profile"].update(path="/api/{usr}"),
            "requests.user_profile: no key named {usr}",
        ),
        (lambda f: f["requests"]["place_order"]["headers"].update(a="b\r\nc"), "requests.place_order.headers.a"),
        (lambda f: f["requests"]["place_order"]["body"].update(price=1.5), "requests.place_order: Value error, body"),
        (lambda f: f["keys"]["user"].update(s=0), "keys.user.s"),
        (lambda f: f["keys"]["user"].update({"from": 10_001}), "keys.user: Value error, to (10000) is below"),
        (lambda f: f["keys"]["user"].update(to=7919), "keys.user: Value error, the size of a zipf range"),
        (lambda f: f["keys"]["user"].update(distribution="normal"), "keys.user"),
    ],
)
def test_a_wrong_traffic_file_is_refused_with_its_path_and_the_key_that_is_wrong(refused, change, said):
    assert said in refused(change)


def test_a_traffic_file_that_is_no_json_is_refused_with_its_line(tmp_path):
    path = tmp_path / "odd.json"
    path.write_text('{\n"description": nonsense}')
    with pytest.raises(LoadError, match=r"odd.json:2: not JSON"):
        load_traffic(path, 1, "r")


def test_a_missing_traffic_file_is_named(tmp_path):
    with pytest.raises(LoadError, match=r"none.json: cannot read this traffic file: No such file"):
        load_traffic(tmp_path / "none.json", 1, "r")


def test_uniform_arrivals_are_one_period_apart():
    assert planned_times(10, 0.5, "uniform", seed=1) == [0, 0.1, 0.2, 0.3, 0.4]


def test_poisson_arrivals_have_the_exact_rate_and_irregular_gaps():
    times = planned_times(100, 20, "poisson", seed=1)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert len(times) == 2_000
    assert times == sorted(times)
    assert times != planned_times(100, 20, "poisson", seed=2)
    assert variance**0.5 == pytest.approx(mean, rel=0.1)  # an exponential's deviation is its mean


@pytest.mark.parametrize("s", [0.5, 0.99, 1.0, 1.3])
def test_zipfs_harmonic_numbers_agree_with_plain_sums(s):
    zipf = Zipf(s, 1, 200_000)
    total = 0.0
    for k in range(1, 5_001):
        total += k**-s
        if k in (1, 64, 65, 100, 5_000):
            assert zipf.harmonic(k) == pytest.approx(total, rel=1e-9)


def test_zipf_gives_the_first_rank_its_share_and_stays_in_range():
    zipf = Zipf(0.99, 1, 10_000)
    numbers = Mulberry32(7)
    ranks = Counter(zipf.rank(numbers.next()) for _ in range(20_000))
    assert ranks[1] / 20_000 == pytest.approx(1 / zipf.harmonic(10_000), rel=0.1)
    assert (zipf.rank(0.0), zipf.rank(1 - 2**-32)) == (1, 10_000)


def test_zipf_maps_ranks_to_ids_one_to_one():
    zipf = Zipf(1.0, 5, 1_004)
    shares = [zipf.harmonic(rank) / zipf.harmonic(1_000) for rank in range(1_001)]
    ids = {zipf.draw((low + high) / 2) for low, high in itertools.pairwise(shares)}
    assert ids == set(range(5, 1_005))


def test_mulberry32_gives_its_published_numbers_for_seed_0():
    """Reference outputs of the algorithm, worked out with its original definition."""
    numbers = Mulberry32(0)
    assert [round(numbers.next() * 2**32) for _ in range(3)] == [1144304738, 1416247, 958946056]
