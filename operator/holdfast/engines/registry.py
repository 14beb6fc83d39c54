"""The engines that there are: adding one is its folder and a line here."""

from holdfast.engines.chroma.pod import Chroma
from holdfast.engines.engine import Engine
from holdfast.engines.files.pod import Files
from holdfast.engines.objects.pod import Objects
from holdfast.engines.postgres.pod import Postgres
from holdfast.engines.redis.pod import Redis

ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (Postgres(), Chroma(), Redis(), Files(), Objects())
}
