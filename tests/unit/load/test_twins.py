"""Python and JavaScript expand a traffic file to the same requests."""

import json
import shutil
import subprocess

import pytest

from costlab.lab.load.traffic import load_traffic, planned_count
from tests.unit.load.fake_server import LOADTESTS

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None, reason="node is not on PATH; install Node.js 18+ to run the JavaScript twin"
)


def run_node(code: str) -> str:
    """Standard output of an ES module that may import from `./lib`."""
    answer = subprocess.run(
        [NODE, "--input-type=module", "--eval", code],
        cwd=LOADTESTS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("path", sorted((LOADTESTS / "traffic").glob("*.json")), ids=lambda path: path.name)
@pytest.mark.parametrize("seed", [1, 4_294_967_295])
def test_the_first_thousand_requests_are_the_same_in_both_languages(path, seed):
    output = run_node(f"""
        import fs from 'node:fs';
        import {{ Traffic }} from './lib/traffic.js';
        const traffic = new Traffic(JSON.parse(fs.readFileSync({json.dumps(str(path))})), {seed}, 'run');
        for (let i = 0; i < 1000; i += 1) console.log(JSON.stringify(traffic.request(i)));
    """)
    traffic = load_traffic(path, seed, "run")
    assert [json.loads(line) for line in output.splitlines()] == [vars(traffic.request(i)) for i in range(1_000)]


def test_a_stretch_holds_the_same_number_of_requests_in_both_languages():
    stretches = [(30, 10.0), (27.5, 3.0), (100, 0.3), (3, 0.1), (1 / 3, 9.0), (33.333, 7.77), (0.1, 1.0)]
    output = run_node(f"""
        import {{ plannedCount }} from './lib/traffic.js';
        console.log(JSON.stringify({json.dumps(stretches)}.map(([rate, seconds]) => plannedCount(rate, seconds))));
    """)
    assert json.loads(output) == [planned_count(rate, seconds) for rate, seconds in stretches]


def test_an_unknown_placeholder_is_refused_by_name():
    output = run_node("""
        import { Traffic } from './lib/traffic.js';
        const file = { keys: {}, requests: { odd: { weight: 1, method: 'GET', path: '/api/{usr}' } } };
        try { new Traffic(file, 1, 'run').request(0); } catch (error) { console.log(error.message); }
    """)
    assert output.strip() == "traffic file: no key named {usr}; there are run, index"
