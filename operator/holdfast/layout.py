"""Where everything of a policy is stored. Both planes know it from here.

Below a destination's prefix:

    <namespace>/<policy>/<run>/<target>/<attempt>/<artifact>.zst[.age]   then .0001 and so on, if large
    <namespace>/<policy>/<run>/<target>/manifest.json      a target's commit point
    <namespace>/<policy>/<run>/report.json[.zst.age]       what is too long for a status
    <namespace>/<policy>/catalogue/<run>.json              a run's commit point
"""

from dataclasses import dataclass

MANIFEST = "manifest.json"
REPORT = "report.json"
ENCRYPTED_REPORT = "report.json.zst.age"
CATALOGUE = "catalogue"
WAL = "wal"
RESERVED = (CATALOGUE, WAL)
"""No run has these names: the folders beside the runs have them."""
ENTRY_SUFFIX = ".json"


class PathError(ValueError):
    """A path is not that of a run."""


def policy_folder(namespace: str, policy: str) -> str:
    """The folder of a policy, with a slash at its end."""
    return f"{namespace}/{policy}/"


def catalogue_folder(namespace: str, policy: str) -> str:
    """The folder of a policy's catalogue, with a slash at its end."""
    return f"{policy_folder(namespace, policy)}{CATALOGUE}/"


@dataclass(frozen=True)
class RunPath:
    """Where a run is stored."""

    namespace: str
    policy: str
    run: str

    @classmethod
    def parse(cls, path: str) -> "RunPath":
        """`<namespace>/<policy>/<run>`. Raises PathError."""
        names = path.split("/")
        if len(names) != 3 or not all(names) or ".." in names:
            raise PathError(f"path {path!r} must be <namespace>/<policy>/<run>")
        return cls(*names)

    def __str__(self) -> str:
        return f"{policy_folder(self.namespace, self.policy)}{self.run}"

    @property
    def folder(self) -> str:
        """The run's folder, with a slash at its end."""
        return f"{self}/"

    @property
    def catalogue(self) -> str:
        """The folder of the policy's catalogue, with a slash at its end."""
        return catalogue_folder(self.namespace, self.policy)

    @property
    def entry(self) -> str:
        """The key of the run's entry in the catalogue."""
        return f"{self.catalogue}{self.run}{ENTRY_SUFFIX}"

    @property
    def unfinished_entries(self) -> str:
        """What the temporary files of writers of the entry that were killed begin with, on a volume."""
        return f"{self.catalogue}.{self.run}{ENTRY_SUFFIX}."

    @property
    def reports(self) -> tuple[str, str]:
        """The keys that the run's report may have."""
        return self.folder + REPORT, self.folder + ENCRYPTED_REPORT

    def target(self, target: str) -> str:
        """A target's folder, with a slash at its end."""
        return f"{self.folder}{target}/"

    def manifest(self, target: str) -> str:
        """The key of a target's manifest."""
        return self.target(target) + MANIFEST

    def target_of(self, key: str) -> str:
        """The target that a key below the run's folder belongs to."""
        return key.removeprefix(self.folder).split("/", 1)[0]

    def is_manifest(self, key: str) -> bool:
        """Whether a key below the run's folder is that of a target's manifest."""
        return key == self.manifest(self.target_of(key))
