"""The words of faults: strict, complete, and the same in every direction."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.service.fault_kinds import KINDS, WHOLE_KINDS
from costlab.service.faults import PLACES, BadFault, Parameter, Record, Registry, kind_of

REGISTRY = Registry.load()
# Faults of the input that are made inside services.
INPUTS = {"bad_setting", "poison_tenant"}
EDGES = {"inbound": "", "whole": "", "upstream": "orders", "postgres": "postgres", "redis": "redis"}


def values(parameter: Parameter) -> st.SearchStrategy:
    """What ``parameter`` allows."""
    if parameter.text:
        return st.from_regex(parameter.text, fullmatch=True)
    if parameter.values:
        return st.sampled_from(parameter.values)
    if parameter.whole:
        return st.integers(int(parameter.low), int(parameter.high))
    return st.floats(parameter.low, parameter.high)


@st.composite
def documents(draw) -> dict:
    """Every document of a wish that is allowed."""
    fault = draw(st.sampled_from(list(REGISTRY)))
    place = draw(st.sampled_from(fault.at))
    document = {"fault": fault.name, "on": draw(st.sampled_from(["users", "users-2", "cache-proxy"]))}
    document |= {"edge": EDGES[place]} if EDGES[place] else {}
    parameters = {name: draw(values(parameter)) for name, parameter in fault.parameters_at(place).items()}
    document["parameters"] = {
        name: parameters[name] for name in draw(st.sets(st.sampled_from([*parameters, ""]))) if name
    }
    if fault.rate is not None and draw(st.booleans()):
        document["rate"] = draw(st.floats(0.001, 1))
    if place == "inbound" and draw(st.booleans()):
        document["route"] = "/users/{id}"
    optional = {"ttl": st.floats(1, 3600)} | ({"seed": st.integers(0, 2**32 - 1)} if fault.seeded else {})
    return document | draw(st.fixed_dictionaries({}, optional=optional))


@settings(max_examples=50)
@given(documents(), st.floats(1.7e9, 1.9e9))
def test_every_wish_and_every_record_survives_json(document, now):
    wish = REGISTRY.wish(document)
    assert REGISTRY.wish(json.loads(json.dumps(wish.document()))) == wish
    record = Record.of(wish, now)
    assert REGISTRY.record(json.loads(json.dumps(record.document()))) == record
    assert 0 < record.left(now) <= 3600.001


@settings(max_examples=50)
@given(documents(), st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(max_size=5)))
def test_a_field_nobody_knows_is_refused_whatever_it_says(document, name, value):
    known = {"fault", "on", "edge", "route", "rate", "seed", "ttl", "parameters"}
    if name not in known:
        with pytest.raises(BadFault, match=r"unknown field .*; allowed: fault, on, edge"):
            REGISTRY.wish(document | {name: value})
    if name not in REGISTRY[document["fault"]].parameters:
        with pytest.raises(BadFault, match="has no parameter"):
            REGISTRY.wish(document | {"parameters": document["parameters"] | {name: value}})


@settings(max_examples=50)
@given(documents(), st.data())
def test_a_value_out_of_range_is_refused_with_what_is_allowed(document, data):
    fault = REGISTRY[document["fault"]]
    known = fault.parameters_at(_place(document, fault)).values()
    numbers = [each for each in known if not each.values and not each.text]
    if numbers:
        parameter = data.draw(st.sampled_from(numbers))
        bad = data.draw(
            st.sampled_from(
                [parameter.low - 1, parameter.high + 1, float("nan"), float("inf"), True, None, "", "much", []]
            )
        )
        with pytest.raises(BadFault, match=f"{parameter.name} cannot be .*; allowed: "):
            REGISTRY.wish(document | {"parameters": {parameter.name: bad}})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fault": "latencyy"}, "there is no fault 'latencyy'; there are: latency, "),
        ({"on": ""}, "on is missing"),
        ({"on": "Users!"}, "on cannot be"),
        ({"on": 7}, "on cannot be 7"),
        ({"rate": 0}, "rate cannot be 0; allowed: above 0 up to 1"),
        ({"rate": 1.01}, "rate cannot be 1.01; allowed: 0 to 1"),
        ({"rate": None}, "rate cannot be None"),
        ({"seed": -1}, "seed cannot be -1; allowed: 0 to"),
        ({"seed": 1.5}, "seed cannot be 1.5"),
        ({"fault": "cpu_burn", "seed": 7}, "cpu_burn takes no seed: nothing about it is left to chance"),
        ({"fault": "memory_leak", "seed": 7}, "memory_leak takes no seed"),
        ({"fault": "capacity_cut", "seed": 7}, "capacity_cut takes no seed"),
        ({"fault": "bad_setting", "seed": 7}, "bad_setting takes no seed"),
        ({"ttl": 0.5}, "ttl cannot be 0.5; allowed: 1 to 3600"),
        ({"ttl": 3601}, "ttl cannot be 3601; allowed: 1 to 3600"),
        ({"route": "users"}, "route cannot be 'users'"),
        ({"route": "/users", "edge": "postgres"}, "a route goes with requests that come in"),
        ({"parameters": [1]}, "parameters cannot be"),
        (
            {"edge": "postgres", "fault": "slow_body"},
            "slow_body does not fit edge postgres; it fits: inbound or upstream",
        ),
        (
            {"edge": "redis", "fault": "errors", "parameters": {"status": 500}},
            "errors at redis has no parameter 'status'",
        ),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(change, says):
    with pytest.raises(BadFault) as refused:
        REGISTRY.wish({"fault": "latency", "on": "users"} | change)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_command_line_may_write_numbers_as_text():
    wish = REGISTRY.wish({"fault": "latency", "on": "users", "rate": ".3", "seed": "7", "parameters": {"ms": "200"}})
    assert (wish.rate, wish.seed, wish.parameters) == (0.3, 7, {"ms": 200})


def test_a_record_says_the_seed_that_repeats_it_where_something_is_drawn():
    drawn = REGISTRY.wish({"fault": "errors", "on": "users", "rate": 0.5, "seed": 7})
    assert Record.of(drawn, 0.0).words() == "errors on users, rate 0.5, status=503, seed 7"
    assert "seed" not in Record.of(REGISTRY.wish({"fault": "cpu_burn", "on": "users"}), 0.0).words()


def test_a_record_never_lasts_longer_than_it_was_given_whatever_the_clock_says():
    record = Record.of(REGISTRY.wish({"fault": "hang", "on": "users", "ttl": 60}), 1000.0)
    assert record.left(900.0) == 60
    assert record.left(1030.0) == 30
    assert record.left(2000.0) == 0


def test_every_fault_of_a_service_is_a_kind_with_a_file_of_its_name():
    kinds = KINDS | WHOLE_KINDS
    assert {fault.name for fault in REGISTRY if fault.level == "service"} == set(kinds) - INPUTS
    assert {fault.name for fault in REGISTRY if fault.level == "input"} > INPUTS
    assert all(kind.__module__.endswith(f".{name}") for name, kind in kinds.items())


def test_every_fault_fits_somewhere_and_says_what_it_does():
    for fault in REGISTRY:
        assert fault.at
        assert set(fault.at) <= set(PLACES)
        assert fault.help.endswith(".")


def _place(document: dict, fault) -> str:
    if "edge" in document:
        return kind_of(document["edge"])
    return "whole" if "whole" in fault.at else "inbound"
