"""What takes longest starts first, and what shares a server stays together."""

from tests.scheduling import rank, unit_of

TESTS = [
    "tests/api/test_run.py::test_one",
    "tests/controller/test_kill.py::test_two[before]",
    "tests/e2e/test_hooks.py::test_three",
    "tests/e2e/test_faults.py::test_four",
]


def test_a_folder_that_shares_a_server_is_one_unit() -> None:
    assert [unit_of(test) for test in TESTS] == [
        "api", "controller/test_kill.py", "e2e", "e2e/test_faults.py",
    ]  # fmt: skip


def test_folders_are_a_guess_before_anything_was_measured() -> None:
    assert sorted(TESTS, key=lambda test: rank(test, {})) == [TESTS[2], TESTS[3], TESTS[1], TESTS[0]]


def test_what_was_measured_goes_before_the_guess_and_a_new_file_first() -> None:
    seconds = {"api": 90.0, "controller/test_kill.py": 30.0, "e2e": 600.0}
    assert sorted(TESTS, key=lambda test: rank(test, seconds)) == [TESTS[3], TESTS[2], TESTS[0], TESTS[1]]
