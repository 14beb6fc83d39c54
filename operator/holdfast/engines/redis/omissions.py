"""Names what a server holds beside keys and functions, and that no restore of Holdfast puts back."""

from collections.abc import Mapping

import hiredis

from holdfast.engines.redis.wire import Client
from holdfast.protocol import Note, Omission

MAX_NAMES = 10
_SEARCH_INDEXES = "ft_index"
"""Begins the name of the type by which RediSearch keeps its indexes; the first value is their number."""


def module_data(modules: Mapping[str, int]) -> tuple[Omission, ...]:
    """What modules keep beside keys (MODULE_AUX). The RDB has it, but no command writes it to a server
    (https://redis.io/docs/latest/develop/reference/modules/modules-api-ref/, `aux_save`)."""
    return tuple(
        Omission(what=_in_words(name), count=amount, reason="ModuleDataNotRestored")
        for name, amount in sorted(modules.items())
    )


def _in_words(name: str) -> str:
    if name.startswith(_SEARCH_INDEXES):
        return f"search indexes ({name}): dump.rdb has them, but a restore does not create them"
    return f"data that a module keeps beside keys ({name}): dump.rdb has it, but a restore does not write it"


def counted(name: str, first_value: int) -> int:
    """How many things a section of a module's type is, whose first value is not zero."""
    return first_value if name.startswith(_SEARCH_INDEXES) else 1


def acl_users(client: Client, username: str | None) -> tuple[tuple[Omission, ...], tuple[Note, ...]]:
    """The server's ACL users but for `default` and the one that Holdfast logs in as.

    No snapshot holds them; a server keeps them in its configuration or in its ACL file.
    """
    reply = client.try_execute("ACL", "USERS")
    if isinstance(reply, hiredis.ReplyError):
        if not str(reply).startswith("NOPERM"):
            return (), ()  # a server without ACLs
        message = (
            f"{client.endpoint} may have ACL users, which are in no backup: the user may not list them, for "
            "which it needs the ACL rule +acl|users"
        )
        return (), (Note(reason="AclUsersUnknown", message=message),)
    users = sorted({user.decode("utf-8", "replace") for user in reply} - {"default", username})
    if not users:
        return (), ()
    named = ", ".join(users[:MAX_NAMES]) + (", …" if len(users) > MAX_NAMES else "")
    what = f"ACL users of {client.endpoint}: {named}"
    return (Omission(what=what, count=len(users), reason="AclUsersNotStored"),), ()
