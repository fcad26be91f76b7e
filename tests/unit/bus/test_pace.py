from bus.nats.pace import Pace


def fed(cost_s: float, *, most: int = 256) -> Pace:
    pace = Pace(0.008, most)
    for _ in range(100):
        pace.took(cost_s * 5, in_flight=5)
    return pace


def test_a_quiet_disk_groups_from_about_thirty_on() -> None:
    assert Pace(0.008, 256).singles == 32
    assert fed(0.00025).singles == 32


def test_a_slow_disk_groups_almost_at_once() -> None:
    assert fed(0.004).singles == 2
    assert fed(1.0).singles == 2


def test_a_fast_store_never_holds_more_than_the_most() -> None:
    assert fed(0.000001, most=100).singles == 100


def test_one_slow_append_does_not_change_the_pace_much() -> None:
    pace = fed(0.00025)
    pace.took(0.005, in_flight=5)
    assert pace.singles > 20
