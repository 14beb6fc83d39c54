"""An archive class, played by the fault proxy in front of a real S3 server.

No S3 server that runs here has a class whose objects must be thawed. So what Amazon documents of them is
played: a HEAD tells of the class and of the thawing, a GET is refused until that is done, and all else is the
real server's. That real archives behave so is not shown by the tests that use this.
"""

from dataclasses import dataclass, field

from tests.faultproxy import FaultProxy, Request


@dataclass
class Archive:
    """Artifacts that come by `proxy` are frozen until thawing was asked for and `polls` HEADs have come."""

    proxy: FaultProxy
    storage_class: str = "DEEP_ARCHIVE"
    polls: int = 2
    asked: dict[str, int] = field(default_factory=dict)
    """By path: the HEADs since thawing was asked for."""
    refused: list[str] = field(default_factory=list)
    """Paths that were read while they were frozen."""

    def __post_init__(self) -> None:
        self._path = ""
        self.proxy.add(self._restores, status=202, code="Accepted")
        self.proxy.add(self._reads_frozen, status=403, code="InvalidObjectState")
        self.proxy.add(self._heads, rewrite_answer=self._tell)

    def thawed(self, path: str) -> bool:
        """Whether the object can be read."""
        return self.asked.get(path, -1) >= self.polls

    def _restores(self, request: Request) -> bool:
        if request.method != "POST" or "restore" not in request.query:
            return False
        self.asked.setdefault(request.path, 0)
        return True

    def _reads_frozen(self, request: Request) -> bool:
        frozen = request.method == "GET" and ".zst" in request.path and not self.thawed(request.path)
        if frozen:
            self.refused.append(request.path)
        return frozen

    def _heads(self, request: Request) -> bool:
        if request.method != "HEAD" or ".zst" not in request.path:
            return False
        self._path = request.path
        if request.path in self.asked:
            self.asked[request.path] += 1
        return True

    def _tell(self, head: bytes) -> bytes:
        lines = [f"x-amz-storage-class: {self.storage_class}"]
        if self._path in self.asked:
            ended = ', expiry-date="Fri, 23 Dec 2033 00:00:00 GMT"' if self.thawed(self._path) else ""
            ongoing = "false" if ended else "true"
            lines.append(f'x-amz-restore: ongoing-request="{ongoing}"{ended}')
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"x-amz-storage-class:")]
        return b"\r\n".join([kept[0], *(line.encode() for line in lines), *kept[1:]])
