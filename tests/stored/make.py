"""Makes the stored bucket of a release, that every later version must survey, verify and restore.

    python -m tests.stored.make v0.2.0

Run it once for each release, after its tag, and commit what it makes; never make that anew. It needs what the
tests of the engines need. The code of the tag does the work, in a work tree of its own that is removed at the
end; only this folder's programs are today's. They start real servers, fill them, and run the Jobs of two runs
by `python -m holdfast.runner`, with a bucket and a volume as destinations. The first run is stored as it is.
The second one, of changed data, is encrypted with age.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyrage
from tests.harness import Runner
from tests.places import S3Place, VolumePlace, start_s3
from tests.processes import stop
from tests.stored.bucket import DESTINATIONS, ENCRYPTED, FOLDER, PLAIN, PREFIX, TARGETS, as_json, files

import holdfast
from holdfast.protocol import BackupResult


def main() -> None:
    """Make the bucket of the release that is named; with a second argument, this is the tag's work tree."""
    match sys.argv[1:]:
        case [release]:
            make_by_its_own_code(release)
        case [release, folder]:
            make(release, Path(folder))
        case _:
            sys.exit(__doc__)


def make_by_its_own_code(release: str) -> None:
    """Run `make` in a work tree of the release's tag."""
    repository = FOLDER.parent.parent
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary) / "tree"
        git = ["git", "-C", str(repository), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", tree, release], check=True)
        try:
            mine = tree / FOLDER.relative_to(repository)
            shutil.copytree(
                FOLDER, mine, ignore=shutil.ignore_patterns("v*", "__pycache__"), dirs_exist_ok=True
            )
            subprocess.run(
                [sys.executable, "-m", "tests.stored.make", release, FOLDER / release], cwd=tree, check=True,
                env={**os.environ, "PYTHONPATH": f"{tree / 'operator'}:{tree}"},
            )  # fmt: skip
        finally:
            subprocess.run([*git, "remove", "--force", tree], check=True)


def make(release: str, folder: Path) -> None:
    """Make the bucket in `folder` by the code of this work tree."""
    code = Path(holdfast.__file__)
    assert code.is_relative_to(Path.cwd()), f"{code} is not of this work tree"
    assert release == f"v{holdfast.__version__}", f"this work tree is of version {holdfast.__version__}"
    identity = pyrage.x25519.Identity.generate()
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        s3 = start_s3(root / "objects")
        stack.callback(stop, s3.process)
        bucket = s3.new_bucket("backups")
        runner = Runner(
            root / "root", dict(zip(DESTINATIONS, (bucket, VolumePlace()), strict=True)), prefix=PREFIX
        )
        servers = {name: stack.enter_context(engine.running()) for name, engine in TARGETS.items()}
        for name, engine in TARGETS.items():
            engine.fill(servers[name])
        runs = {PLAIN: run(runner, PLAIN, servers)}
        for name, engine in TARGETS.items():
            engine.change(servers[name])
        runner.recipients = (str(identity.to_public()),)
        runs[ENCRYPTED] = run(runner, ENCRYPTED, servers)
        folder.mkdir()
        export(bucket, folder / "s3")
        shutil.copytree(runner.volume("volume"), folder / "volume")
    expected = {"identity": str(identity), "runs": runs}
    (folder / "expected.json").write_text(as_json(expected) + "\n")
    stored = files(folder)
    print(f"{folder}: {len(stored)} files, {sum(map(len, stored.values())):,} bytes")


def run(runner: Runner, name: str, servers: dict[str, object]) -> dict[str, object]:
    """Back every target up and commit the run: what is expected of each target."""
    runner.run, runner.run_uid = name, f"uid-of-{name}"
    expected: dict[str, object] = {}
    results = {}
    for target, engine in TARGETS.items():
        spec = engine.target(servers[target])
        code, result = runner.run_backup(engine.name, spec, engine.secrets, target)
        assert code == 0, result
        assert isinstance(result, BackupResult)
        assert set(result.destinations) == set(DESTINATIONS)
        results[target] = (engine.name, result)
        expected[target] = {
            "engine": engine.name,
            "contents": result.contents,
            "held": engine.held(servers[target]),
        }
    code, committed = runner.run_commit(results)
    assert code == 0, committed
    return expected


def export(bucket: S3Place, folder: Path) -> None:
    """Write each object of a bucket as a file."""
    client = bucket.server.client()
    keys = bucket.keys()
    for key in keys:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.get_object(Bucket=bucket.bucket, Key=key)["Body"].read())
    client.close()


if __name__ == "__main__":
    main()
