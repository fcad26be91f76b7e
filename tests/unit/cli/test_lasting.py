import pytest

from actors.cli.lasting import AGAIN_LAST_S, again_in_s, cause


def test_pauses_double_up_to_ten_seconds() -> None:
    assert [again_in_s(deaths) for deaths in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert again_in_s(50) == AGAIN_LAST_S


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (1, "ended with 1"),
        (-9, "was killed by SIGKILL"),
        (-64, "was killed by SIGRTMAX"),
        (-99, "was killed by signal 99"),
    ],
)
def test_the_cause_of_an_end_is_named(status: int, said: str) -> None:
    assert cause(status) == said
