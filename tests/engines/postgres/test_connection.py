"""How the engine connects to a server: what is verified, and with which authority."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.api.base import CredentialsSecret, SecretRef
from holdfast.engines.postgres.connection import server
from holdfast.engines.postgres.spec import PostgresTls
from holdfast.engines.transfer import TaskError
from holdfast.mounts import CA, CA_FILE, CREDENTIALS


def connected(folder: Path, tls: PostgresTls | None) -> str:
    """The connection string of a server by what is mounted."""
    for mount, files in ((CREDENTIALS, {"username": "backup", "password": "p"}), (CA, {CA_FILE: "-"})):
        (folder / mount).mkdir()
        for name, text in files.items():
            (folder / mount / name).write_text(text)
    context: Any = SimpleNamespace(scratch=folder, secret=lambda mount: folder / mount)
    credentials = CredentialsSecret(name="pg")
    return server(context, ("postgres", 5432), credentials, tls, 17).conninfo("postgres")


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_the_authority_that_is_named_verifies_the_server(tmp_path: Path, mode: Any) -> None:
    said = connected(tmp_path, PostgresTls(mode=mode, ca_secret=SecretRef(name="pg-ca")))
    assert f"sslmode={mode} sslrootcert={tmp_path / CA / CA_FILE}" in said


def test_without_an_authority_require_verifies_nothing(tmp_path: Path) -> None:
    assert "sslrootcert" not in connected(tmp_path, PostgresTls(mode="require"))


def test_one_key_for_name_and_password_is_wrong_settings(tmp_path: Path) -> None:
    context: Any = SimpleNamespace(scratch=tmp_path, secret=lambda mount: tmp_path / mount)
    credentials = CredentialsSecret(name="pg", username_key="pw", password_key="pw")
    with pytest.raises(TaskError) as error:
        server(context, ("postgres", 5432), credentials, None, 17)
    assert error.value.reason == "SecretKeyNotFound"
    assert "has no key pw" in error.value.message
