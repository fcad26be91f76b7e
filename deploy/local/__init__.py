"""Development servers without containers: NATS, Kafka, PostgreSQL and Valkey as plain processes.

    infos = up(Path("var/local"), os.environ, print)    # starts what is missing
    actors_environment = env(infos)                     # AION_NATS__URL and the others
    down(Path("var/local"))                             # no process survives, the data stays
    remove(Path("var/local"))                           # the data goes as well

The binaries come from package registries, some of them unofficial builds: for development and tests only.
"""

from deploy.local.durability import nats_sync
from deploy.local.info import URL_VARIABLES, ServerInfo, env
from deploy.local.servers import DATA_DIR, down, remove, status, up

__all__ = ["DATA_DIR", "URL_VARIABLES", "ServerInfo", "down", "env", "nats_sync", "remove", "status", "up"]
