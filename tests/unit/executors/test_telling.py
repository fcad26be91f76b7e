"""What a guest says becomes numbered deltas, one at most every 30 ms, and all of it before the end."""

import asyncio
from typing import Any, cast

from bus.memory import MemoryBus, MemoryServer
from bus.port import Delivery
from executors.wasm.telling import PAUSE_S, Telling
from schemas.delta import MAX_TEXT_CHARS, Delta, first_number
from schemas.events import Routed
from schemas.ids import TaskId, TenantId
from schemas.message import decode


class Ear:
    """The bus, and the deltas it stored."""

    def __init__(self, event: Routed, delivered: int = 1) -> None:
        self.bus = MemoryBus(MemoryServer())
        delivery = cast(Delivery, _Delivery(delivered))
        self.telling = Telling(self.bus.tokens, event, delivery)
        self._task = TenantId(event.tenant_id), TaskId(event.task_id)

    async def heard(self) -> list[Delta]:
        return [decode(entry.data, Delta) for entry in await self.bus.tokens.kept(*self._task)]


class _Delivery:
    def __init__(self, delivered: int) -> None:
        self.delivered = delivered
        self.entry = cast(Any, self)
        self.sequence = 17


async def test_the_first_word_is_told_at_once_and_the_next_together(every_event: dict[str, Any]) -> None:
    ear = Ear(every_event["routed"])
    ear.telling.say(b"one ")
    await asyncio.sleep(PAUSE_S / 10)
    ear.telling.say(b"two ")
    ear.telling.say(b"three")
    assert await ear.heard() == [Delta(lease=17, number=1, text="one ")]
    await asyncio.sleep(PAUSE_S * 1.5)
    assert await ear.heard() == [Delta(lease=17, number=1, text="one "), Delta(lease=17, number=2, text="two three")]


async def test_the_rest_is_told_before_the_end_even_when_a_character_was_split(every_event: dict[str, Any]) -> None:
    ear = Ear(every_event["routed"], delivered=2)
    for byte in "grüß".encode():
        ear.telling.say(bytes([byte]))
    await ear.telling.finish()
    found = await ear.heard()
    assert "".join(delta.text for delta in found) == "grüß"
    assert found[0].number == first_number(2)


async def test_a_long_text_is_several_deltas(every_event: dict[str, Any]) -> None:
    ear = Ear(every_event["routed"])
    ear.telling.say(b"x" * (2 * MAX_TEXT_CHARS + 1))
    await ear.telling.finish()
    assert [len(delta.text) for delta in await ear.heard()] == [MAX_TEXT_CHARS, MAX_TEXT_CHARS, 1]


async def test_who_says_nothing_costs_no_task_and_a_lost_delta_leaves_its_number_free(
    every_event: dict[str, Any],
) -> None:
    ear = Ear(every_event["routed"])
    assert not ear.telling.begun
    ear.telling.stop()
    ear.bus.lose()
    ear.telling.say(b"lost")
    await ear.telling.finish()
    ear.bus.restore()
    ear.telling.say(b"kept")
    await ear.telling.finish()
    assert await ear.heard() == [Delta(lease=17, number=2, text="kept")]
