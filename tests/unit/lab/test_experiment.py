"""experiment.toml: a closed schema whose errors name file, line and what is allowed."""

import pytest

from costlab.lab import experiment
from costlab.lab.catalogue import days, find
from costlab.lab.errors import LabError

TEXT = find("11").file.read_text()


def load(tmp_path, text):
    file = tmp_path / "experiment.toml"
    file.write_text(text)
    return experiment.load(file)


def error_of(tmp_path, old, new):
    assert TEXT.count(old) >= 1
    text = TEXT.replace(old, new, 1)
    with pytest.raises(LabError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    # The message names the line on which the change was made.
    line = text[: text.index(new)].count("\n") + 1 if new else None
    return message.replace(str(tmp_path), ""), line


@pytest.mark.parametrize("day", days(), ids=lambda day: day.slug)
def test_every_day_there_is_can_be_read(day):
    assert experiment.load(day.file).question


def test_the_baseline_comes_first():
    assert experiment.load(find("11").file).names()[0] == "off"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("title =", "titel =", "unknown key titel; allowed: title, question"),
        ('direction = "lower"', 'direction = "down"', "primary.direction is 'down'; allowed: 'lower' or 'higher'"),
        ("smallest_effect", "smallest_efect", "unknown key primary.smallest_efect; allowed: metric, variant"),
        ("rate = 80", "rate = -1", "load.rate is -1"),
        ("rate = 80", "rate = 1e308", "load.rate is 1e+308: input should be less than or equal to 100000"),
        ("rate = 80", "rate = 1e8", "load.rate is 100000000.0: "),
        ("rate = 80", "rate = 1e-9", "load.rate is 1e-09: input should be greater than or equal to 0.001"),
        ("ratio = 0.83", "ratio = 1e16", "prediction.ratio is 1e+16: input should be less than or equal to 1000000"),
        ("ratio = 0.83", "ratio = 0", "prediction.ratio is 0"),
        ("rate = 80", 'rate = "80"', "load.rate is '80'"),
        ("traffic/browse", "traffic/brows", "brows.json: cannot read this traffic file: No such file or directory"),
        ("traffic/browse.json", "browse.js", "browse.js:1: not JSON: Expecting value; there are: loadtests/"),
        ("loadtests/traffic/browse.json", "\\u0000", "cannot read this traffic file: embedded null byte"),
        ('cache = "emptied"', 'cache = "full"', "state.cache is 'full'; allowed: 'emptied' or 'kept'"),
        ('metric = "db_queries_per_request"', 'metric = "speed"', "there is no metric 'speed'; allowed: db_queries"),
        ("summary =", "sumary =", "variants.off.sumary; allowed: summary, flags, without"),
        ('"gateway.reads" = "direct"', '"gateway.read" = "direct"', "there is no flag 'gateway.read'"),
        ('"cache.ttl" = 5', '"cache.ttl" = 0', "cache.ttl cannot be '0'; allowed: 0.1 to 3600"),
        ("count = 4", "count = 0", "quick.count is 0"),
        ("secondary = [", 'secondary = ["memory_mib.order",', "secondary names 'order'; allowed: cache-proxy, gateway"),
        (
            'without = ["cache-proxy"',
            'without = ["cacheproxy"',
            "variants.off.without names 'cacheproxy'; allowed: cache-proxy",
        ),
        (
            'cache = "emptied"',
            'restart = ["order"]',
            "state.restart names 'order'; allowed: cache-proxy, gateway, orders",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_what_is_allowed(tmp_path, old, new, expected):
    message, line = error_of(tmp_path, old, new)
    assert expected in message
    assert message.startswith(f"/experiment.toml:{line}: ")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('baseline = "off"', 'baseline = "of"', "baseline is 'of'; allowed: off, ttl"),
        ('variant = "ttl"', 'variant = "off"', "primary.variant is the baseline itself"),
        ('"p50_ms", "p95_ms"', '"p50", "p95_ms"', "there is no metric 'p50'"),
        ("[load]", "[load", "not TOML"),
        ('question = "', 'question = 5 # "', "question is 5"),
    ],
)
def test_other_mistakes_are_one_line_too(tmp_path, old, new, expected):
    assert expected in error_of(tmp_path, old, new)[0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"cache.ttl" = 5', '"cache.ttl" = true', "variants.ttl.flags.cache.ttl is true; allowed: 0.1 to 3600"),
        ('"cache.ttl" = 5', '"cache.ttl" = [5]', "variants.ttl.flags.cache.ttl is [5]; allowed: 0.1 to 3600"),
        ('"cache.ttl" = 5', '"cache.ttl" = nan', "variants.ttl.flags.cache.ttl is nan; allowed: 0.1 to 3600"),
        ('"cache.ttl" = 5', '"cache.ttl" = 07:30:00', "variants.ttl.flags.cache.ttl is 07:30:00; allowed: 0.1 to 3600"),
        (
            '"gateway.reads" = "direct"',
            '"gateway.reads" = false',
            "variants.off.flags.gateway.reads is false; allowed: direct or cache_proxy",
        ),
        ('"cache.ttl" = 5', '"cache.tl" = true', "variants.ttl.flags.cache.tl is true; allowed: text or a number"),
        ('title = "Caching"', "title = true", "title is true: input should be a valid string"),
    ],
)
def test_a_value_of_the_wrong_type_is_one_error_that_says_what_the_flag_allows(tmp_path, old, new, expected):
    message, line = error_of(tmp_path, old, new)
    assert message == f"/experiment.toml:{line}: {expected}"


def test_what_else_is_wrong_is_counted_by_value_not_by_the_types_it_could_have_had(tmp_path):
    message, _ = error_of(tmp_path, '"cache.ttl" = 5', '"cache.ttl" = true, "http.reuse" = []')
    assert message.endswith("cache.ttl is true; allowed: 0.1 to 3600 (and 1 more)")


def test_a_claim_about_the_99th_percentile_takes_many_requests_and_rounds(tmp_path):
    tail = TEXT.replace('metric = "db_queries_per_request"', 'metric = "p99_ms"')
    with pytest.raises(LabError, match=r"3,000 requests a block \(rate x block_seconds is 2,400\) and 20 rounds"):
        load(tmp_path, tail)
    enough = tail.replace("rate = 80", "rate = 100").replace("count = 10", "count = 20")
    assert load(tmp_path, enough).primary.metric == "p99_ms"


def test_a_block_has_no_more_requests_than_can_be_planned(tmp_path):
    # 100,000 a second for 30 s are 3,000,000, for 120 s too many.
    fast = TEXT.replace("rate = 80", "rate = 100_000")
    assert load(tmp_path, fast).load.rate == 100_000
    with pytest.raises(LabError, match=r"a block of rounds has 12,\d00,000 requests; allowed: 10,000,000"):
        load(tmp_path, fast.replace("block_seconds = 30", "block_seconds = 120"))


def test_a_missing_table_is_named(tmp_path):
    start = TEXT.index("[load]")
    with pytest.raises(LabError, match="load is missing"):
        load(tmp_path, TEXT[:start] + TEXT[TEXT.index("# Settling") :])


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(LabError, match="cannot be read"):
        experiment.load(tmp_path / "experiment.toml")


@pytest.mark.parametrize("name", ["11", "11-caching", "caching"])
def test_a_day_is_found_by_number_and_by_name(name):
    assert find(name).slug == "11-caching"


@pytest.mark.parametrize("name", ["99", "cash", "", "../11-caching"])
def test_an_unknown_day_lists_the_days_there_are(name):
    with pytest.raises(LabError, match=r"there are: .*11-caching"):
        find(name)


def test_a_flag_given_from_outside_stands_in_every_variant():
    changed = experiment.load(find("11").file).with_flags({"cache.ttl": 60.0, "http.pool_size": 8})
    assert {variant.flags["cache.ttl"] for variant in changed.variants.values()} == {60.0}
    assert {variant.flags["http.pool_size"] for variant in changed.variants.values()} == {8}


def test_a_flag_that_would_leave_two_variants_the_same_is_refused():
    flags = experiment.load(find("11").file).variants["ttl"].flags
    with pytest.raises(LabError, match="the variants off and ttl would be the same"):
        experiment.load(find("11").file).with_flags(flags)


FAULTS = """
[[faults]]
at = 1
seconds = 2
fault = "latency"
on = "users"
edge = "postgres"
parameters = { ms = 50 }

[[faults]]
at = 2
fault = "kill"
on = "orders"
"""


def test_faults_stand_on_a_timeline(tmp_path):
    faults = load(tmp_path, TEXT + FAULTS).faults
    assert [fault.document() for fault in faults] == [
        {"fault": "latency", "on": "users", "edge": "postgres", "ttl": 2, "parameters": {"ms": 50}},
        {"fault": "kill", "on": "orders", "ttl": 1, "parameters": {}},
    ]


def test_a_day_with_faults_has_ten_rounds_at_least_in_its_full_form(tmp_path):
    few = TEXT.replace("count = 10", "count = 9")
    assert load(tmp_path, few).rounds.count == 9
    assert load(tmp_path, TEXT + FAULTS).rounds.count == 10
    with pytest.raises(LabError) as caught:
        load(tmp_path, few + FAULTS)
    line = few[: few.index("count = 9")].count("\n") + 1
    said = "rounds.count is 9; allowed: 10 to 200 where there are faults (quick.count may be less)"
    assert str(caught.value) == f"{tmp_path}/experiment.toml:{line}: {said}"


def test_the_quick_form_of_a_day_with_faults_may_have_fewer_rounds(tmp_path):
    assert load(tmp_path, TEXT.replace("count = 4", "count = 1") + FAULTS).quick.count == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ms = 50", "ms = true", "faults.0.parameters.ms is true; allowed: text or a number"),
        ('fault = "latency"', 'fault = "slow"', "faults.0: there is no fault 'slow'; there are: latency"),
        ("ms = 50", "ms = 0", "faults.0: ms cannot be 0; allowed: 1 to 60000"),
        ('edge = "postgres"', 'edgy = "postgres"', "unknown key faults.0.edgy; allowed: at, seconds, fault, on, edge"),
        ("at = 2", "at = 6.5", "faults.1 is over 7.5 s into a block, and the shortest lasts 7 s"),
        ("at = 2", 'at = "2"', "faults.1.at is '2'"),
        ('fault = "kill"', 'fault = "kill"\nedge = "redis"', "faults.1: kill does not fit"),
    ],
)
def test_a_mistake_in_a_fault_names_its_line(tmp_path, old, new, expected):
    text = (TEXT + FAULTS).replace(old, new)
    with pytest.raises(LabError) as caught:
        load(tmp_path, text)
    place, message = str(caught.value).removeprefix(str(tmp_path)).split(": ", 1)
    assert expected in message
    wrong = text[: text.index(new)].count("\n") + 1
    begins = [i for i, line in enumerate(text.splitlines(), 1) if line == "[[faults]]"]
    assert int(place.split(":")[1]) in (wrong, *(begin for begin in begins if begin <= wrong))
    assert int(place.split(":")[1]) >= max(begin for begin in begins if begin <= wrong)
