"""One costlab at a time works on a stack."""

import threading

from costlab.stack.lock import alone


def test_a_second_one_waits_for_the_first_and_says_so(tmp_path):
    file, said, order = tmp_path / "state" / "lock", [], []
    waiting = threading.Event()

    def report(line):
        said.append(line)
        waiting.set()

    def second():
        with alone(file, report):
            order.append("second")

    thread = threading.Thread(target=second)
    with alone(file, said.append):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert len(said) == 1
    assert said[0].startswith("waiting for another costlab (pid ")


def test_whoever_waited_for_a_removed_folder_takes_the_new_one(tmp_path):
    """``down --volumes`` removes the folder with the lock: nobody may go on with a file that is gone."""
    file = tmp_path / "state" / "lock"
    with alone(file, print):
        file.unlink()
        with alone(file, print):
            assert file.exists()
