"""Where the bucket's name is in a URL: the store says it if nobody else does."""

from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from botocore.exceptions import BotoCoreError, ClientError

_FORBIDDEN = {"SecondLevelDomainForbidden", "PathStyleDomainForbidden"}
"""Codes of stores that take the bucket's name in the host only: Alibaba's OSS
(https://github.com/peak/s5cmd/issues/518) and Tencent's COS."""
Style = Literal["Path", "Virtual"]


class Addressing:
    """The style of one bucket's addresses. It starts with the path, where that may be wrong."""

    def __init__(self, bucket: str) -> None:
        self.style: Style = "Path"
        self._bucket = bucket
        self._is_known = False

    def teach(self, client: Any) -> None:
        """Have a client that was made for the style Path use the one that the store wants."""

        def before(params: Any, **_: Any) -> None:
            if self.style == "Virtual":
                params["url"] = self._virtual(params["url"])

        def after(response: Any, operation: Any, request_dict: Any, **_: Any) -> int | None:
            if response is None or self.style == "Virtual" or self._is_known:
                return None
            status, code = response[0].status_code, response[1].get("Error", {}).get("Code")
            if status == HTTPStatus.FORBIDDEN and operation.http["method"] == "HEAD":
                self._ask(client)  # an answer to a HEAD does not say why
            elif code in _FORBIDDEN:
                self.style = "Virtual"
            self._is_known = self._is_known or status < HTTPStatus.MULTIPLE_CHOICES
            if self.style != "Virtual":
                return None
            request_dict["url"] = self._virtual(request_dict["url"])
            return 0

        client.meta.events.register("before-call.s3", before, unique_id="holdfast-address")
        client.meta.events.register_first("needs-retry.s3", after, unique_id="holdfast-style")

    def _ask(self, client: Any) -> None:
        """Ask something whose answer has a body. An error is that of the HEAD, which is reported."""
        try:
            client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except (BotoCoreError, ClientError):
            return

    def _virtual(self, url: str) -> str:
        parts = urlsplit(url)
        path = parts.path.removeprefix(f"/{self._bucket}")
        return urlunsplit(parts._replace(netloc=f"{self._bucket}.{parts.netloc}", path=path or "/"))
