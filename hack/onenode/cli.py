"""The verbs of kind that people and pytest-kind use: messages on stderr, answers on stdout."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from onenode import cluster, images, kubeconfig, layout
from onenode.layout import Cluster
from onenode.shell import UserError, say

PREREQUISITES = Path(__file__).resolve().parent.parent / "prerequisites"


def main() -> None:
    """Answer one command line. Ends with 1 when it fails and 2 when the command line is wrong."""
    arguments = _parser().parse_args()
    try:
        if os.geteuid() != 0:
            raise UserError("the cluster needs root: namespaces, mounts and cgroups are made")
        arguments.run(arguments)
    except UserError as error:
        say(f"ERROR: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("ERROR: interrupted")
        sys.exit(130)


def create_cluster(arguments: argparse.Namespace) -> None:
    for flag in ("image", "config"):
        if getattr(arguments, flag):
            say(f"--{flag} has no effect: the node's programs are those that hack/tools pins")
    if subprocess.run([PREREQUISITES], check=False).returncode:
        raise UserError("the packages that the cluster needs could not be installed")
    say(f'Creating cluster "{arguments.name}" ...')
    target = arguments.kubeconfig or kubeconfig.default_path()
    created = cluster.create(arguments.name, target)
    say(f'Set kubectl context to "{created.context}"')
    say("You can now use your cluster with:\n")
    say(f"kubectl cluster-info --context {created.context} --kubeconfig {target}")


def delete_cluster(arguments: argparse.Namespace) -> None:
    say(f'Deleting cluster "{arguments.name}" ...')
    cluster.delete(arguments.name)
    context = Cluster(arguments.name, 0).context
    kubeconfig.forget(context, arguments.kubeconfig or kubeconfig.default_path())


def get_clusters(_: argparse.Namespace) -> None:
    names = cluster.running_names()
    if not names:
        say("No kind clusters found.")
    for name in names:
        print(name)


def get_nodes(arguments: argparse.Namespace) -> None:
    if arguments.name not in cluster.running_names():
        say(f'No kind nodes found for cluster "{arguments.name}".')
        return
    print(cluster.get(arguments.name).node)


def get_kubeconfig(arguments: argparse.Namespace) -> None:
    print(cluster.get(arguments.name).admin_kubeconfig.read_text())


def export_kubeconfig(arguments: argparse.Namespace) -> None:
    found = cluster.get(arguments.name)
    kubeconfig.merge(found, arguments.kubeconfig or kubeconfig.default_path())
    say(f'Set kubectl context to "{found.context}"')


def export_logs(arguments: argparse.Namespace) -> None:
    # Also of a cluster that does not work: its logs say why.
    found = layout.stored(arguments.name)
    if not found:
        raise UserError(f'unknown cluster "{arguments.name}"')
    target = arguments.folder or Path(tempfile.mkdtemp(prefix=f"{arguments.name}-logs-"))
    cluster.export_logs(found, target)
    say(f'Exporting logs for cluster "{arguments.name}" to:')
    print(target)


def load_docker_image(arguments: argparse.Namespace) -> None:
    found = cluster.get(arguments.name)
    for image in arguments.images:
        images.load_from_storage(found, image)


def load_image_archive(arguments: argparse.Namespace) -> None:
    found = cluster.get(arguments.name)
    for archive in arguments.archives:
        if not archive.is_file():
            raise UserError(f"there is no archive {archive}")
        images.load_archive(found, archive)


def _name(text: str) -> str:
    # It becomes part of paths, of a cgroup, and of the node's name, which DNS limits.
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,47}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no cluster name: 1 to 49 of a-z, 0-9, '.', '-', with a letter or digit at both ends"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("-n", "--name", type=_name, default=os.environ.get("KIND_CLUSTER_NAME", "kind"))
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument("--kubeconfig", type=Path, help="default: KUBECONFIG or ~/.kube/config")

    parser = argparse.ArgumentParser(prog="kind", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    create = verbs.add_parser("create").add_subparsers(required=True, metavar="WHAT")
    verb = create.add_parser("cluster", parents=[named, configured], help="make a cluster")
    verb.add_argument("--wait", help="without effect: the node is always waited for")
    verb.add_argument("--image", help="without effect")
    verb.add_argument("--config", help="without effect")
    verb.set_defaults(run=create_cluster)

    delete = verbs.add_parser("delete").add_subparsers(required=True, metavar="WHAT")
    verb = delete.add_parser("cluster", parents=[named, configured], help="remove a cluster")
    verb.set_defaults(run=delete_cluster)

    get = verbs.add_parser("get").add_subparsers(required=True, metavar="WHAT")
    get.add_parser("clusters", help="list the clusters that work").set_defaults(run=get_clusters)
    get.add_parser("nodes", parents=[named]).set_defaults(run=get_nodes)
    get.add_parser("kubeconfig", parents=[named]).set_defaults(run=get_kubeconfig)

    export = verbs.add_parser("export").add_subparsers(required=True, metavar="WHAT")
    verb = export.add_parser("kubeconfig", parents=[named, configured])
    verb.set_defaults(run=export_kubeconfig)
    verb = export.add_parser("logs", parents=[named], help="copy the logs into a folder")
    verb.add_argument("folder", nargs="?", type=Path)
    verb.set_defaults(run=export_logs)

    load = verbs.add_parser("load").add_subparsers(required=True, metavar="WHAT")
    verb = load.add_parser("docker-image", parents=[named], help="load images from buildah's storage")
    verb.add_argument("images", nargs="+")
    verb.set_defaults(run=load_docker_image)
    verb = load.add_parser("image-archive", parents=[named])
    verb.add_argument("archives", nargs="+", type=Path)
    verb.set_defaults(run=load_image_archive)
    return parser
