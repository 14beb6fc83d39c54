"""The kinds of destinations: adding one is its module here, its module in the data plane and a line here."""

from holdfast.destinations.azure import Azure
from holdfast.destinations.destination import DestinationSpec
from holdfast.destinations.gcs import Gcs
from holdfast.destinations.s3 import S3
from holdfast.destinations.volume import Volume

DESTINATIONS: dict[str, type[DestinationSpec]] = {
    "s3": S3,
    "gcs": Gcs,
    "azure": Azure,
    "volume": Volume,
}
"""By the name of its section, which is also that of its module in `holdfast.runner.destinations`."""
