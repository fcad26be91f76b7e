from hypothesis import given
from hypothesis import strategies as st

from bus.matching import matches

tokens = st.text(alphabet="abcXYZ019_-", min_size=1, max_size=6)
subjects = st.lists(tokens, min_size=1, max_size=7)


def test_a_star_is_exactly_one_token() -> None:
    assert matches("aion.task.*.*.acme.t1", "aion.task.routed.wasm-high.acme.t1")
    assert not matches("aion.task.*.acme", "aion.task.acme")
    assert not matches("aion.task.*.acme", "aion.task.a.b.acme")


def test_a_tail_is_one_token_or_more() -> None:
    assert matches("aion.live.>", "aion.live.ended")
    assert matches("aion.live.>", "aion.live.ended.completed.acme.t1")
    assert not matches("aion.live.>", "aion.live")
    assert not matches("aion.live.>", "aion.task.ended")
    assert matches(">", "anything")


def test_tokens_compare_whole_and_case_sensitively() -> None:
    assert not matches("aion.ctl.drain", "aion.ctl.drained")
    assert not matches("aion.ctl.drained", "aion.ctl.drain")
    assert not matches("aion.ctl.drain", "aion.ctl.Drain")
    assert not matches("aion.ctl.dr*", "aion.ctl.drain")


@given(subjects)
def test_a_subject_matches_itself_and_nothing_longer_or_shorter(subject: list[str]) -> None:
    text = ".".join(subject)
    assert matches(text, text)
    assert not matches(text, text + ".more")
    assert not matches(text + ".more", text)


@given(subjects, st.data())
def test_any_tokens_may_become_stars(subject: list[str], data: st.DataObject) -> None:
    starred = [data.draw(st.sampled_from([token, "*"])) for token in subject]
    assert matches(".".join(starred), ".".join(subject))


@given(subjects, st.integers(min_value=0, max_value=7))
def test_a_tail_takes_every_proper_prefix_and_only_those(subject: list[str], length: int) -> None:
    pattern = ".".join([*subject[:length], ">"])
    assert matches(pattern, ".".join(subject)) == (length < len(subject))


@given(subjects, st.integers(min_value=0, max_value=6))
def test_one_other_token_breaks_the_match(subject: list[str], index: int) -> None:
    other = list(subject)
    place = index % len(subject)
    other[place] += "x"
    assert not matches(".".join(other), ".".join(subject))
    other[place] = "*"
    assert matches(".".join(other), ".".join(subject))
