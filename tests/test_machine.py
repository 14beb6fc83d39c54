"""What the tests share does what it says."""

import threading
import time
from pathlib import Path

from tests.machine import bytes_below


def test_a_folder_is_measured_while_files_and_folders_in_it_go(tmp_path: Path) -> None:
    (tmp_path / "stays").write_bytes(b"12345")
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            for number in range(50):
                (tmp_path / f"{number}").mkdir()
                (tmp_path / f"{number}" / "empty").touch()
            for number in range(50):
                (tmp_path / f"{number}" / "empty").unlink()
                (tmp_path / f"{number}").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert bytes_below(tmp_path) == 5
    finally:
        ended.set()
        thread.join()
