"""Whether Kafka answers and its topics are what they must be."""

from collections.abc import Sequence
from typing import Final

from bridges.kafka.settings import KafkaSettings
from bridges.kafka.topics import mandatory, survey
from schemas.errors import Unavailable
from schemas.finding import Finding

TIMEOUT_S: Final = 5.0
_START: Final = "aionctl servers up, or set AION_KAFKA__BOOTSTRAP"
_PARTITIONS: Final = "set AION_KAFKA__PREFIX for new topics, or change the settings: partitions never change in place"


async def examine(settings: KafkaSettings) -> Sequence[Finding]:
    """The cluster and the mandatory topics; nothing is created."""
    try:
        seen = await survey(settings, TIMEOUT_S)
    except Unavailable as error:
        return [Finding(name="kafka", ok=False, found=error.message, fix=_START)]
    reached = Finding(name="kafka", ok=True, found=f"answers at {settings.bootstrap}, brokers: {seen.brokers}")
    if seen.differences:
        return [reached, Finding(name="topics", ok=False, found="; ".join(seen.differences), fix=_PARTITIONS)]
    if seen.absent:
        found = f"absent: {', '.join(seen.absent)}"
        return [reached, Finding(name="topics", ok=False, found=found, fix="aionctl run kafka creates them")]
    return [reached, Finding(name="topics", ok=True, found=f"all {len(mandatory(settings))} as they must be")]
