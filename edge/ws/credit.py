"""How many events a subscription may still be sent: pure arithmetic."""

from schemas.errors import InvalidRequest


class Credit:
    """Counts down by one an event, up by what the client grants. With `left` None it never runs out."""

    def __init__(self, left: int | None, most: int) -> None:
        self._most = most
        self.left = left
        self.grant(0)

    def grant(self, more: int) -> None:
        """Add to it. Raises `InvalidRequest` when that is more than a subscription may have; nothing changes then."""
        if self.left is None:
            return
        if self.left + more > self._most:
            raise InvalidRequest(
                f"{self.left} of credit and {more} more are over {self._most}, the most that a subscription may have"
            )
        self.left += more

    def take(self) -> None:
        """One event goes out."""
        if self.left is not None:
            self.left -= 1

    def __bool__(self) -> bool:
        """Whether one more may go out."""
        return self.left is None or self.left > 0
