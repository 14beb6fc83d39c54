"""Where a run's objects are, and that a path that is read names a run."""

import pytest

from holdfast.layout import PathError, RunPath, catalogue_folder

PATH = RunPath("ns", "policy", "run")


def test_the_keys_of_a_run() -> None:
    assert str(PATH) == "ns/policy/run"
    assert PATH.folder == "ns/policy/run/"
    assert PATH.manifest("db") == "ns/policy/run/db/manifest.json"
    assert PATH.entry == "ns/policy/catalogue/run.json"
    assert PATH.entry.startswith(catalogue_folder("ns", "policy"))
    assert PATH.unfinished_entries == "ns/policy/catalogue/.run.json."


def test_a_path_is_read_as_it_is_written() -> None:
    assert RunPath.parse(str(PATH)) == PATH


@pytest.mark.parametrize("path", ["", "run", "policy/run", "a/b/c/d", "a//c", "/b/c", "a/b/", "a/../c"])
def test_what_names_no_run_is_refused(path: str) -> None:
    with pytest.raises(PathError, match="must be <namespace>/<policy>/<run>"):
        RunPath.parse(path)


@pytest.mark.parametrize(
    ("key", "target", "is_manifest"),
    [
        ("ns/policy/run/db/manifest.json", "db", True),
        ("ns/policy/run/db/attempt/manifest.json", "db", False),
        ("ns/policy/run/db/attempt/x.zst", "db", False),
        ("ns/policy/run/manifest.json", "manifest.json", False),
    ],
)
def test_the_key_of_a_target_says_which(key: str, target: str, is_manifest: bool) -> None:
    assert PATH.target_of(key) == target
    assert PATH.is_manifest(key) is is_manifest
