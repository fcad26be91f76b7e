"""The drain against a second telling of it: who asked when, and what of it is over."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from actors.runtime.drain import GIVE_BACK_S, Drain, Phase, Reason

CODES = {Reason.SIGNAL: 0, Reason.CONTROL: 0, Reason.FAILED: 1, Reason.BUS_GONE: 75}


class DrainMachine(RuleBasedStateMachine):
    """The model keeps the moments at which finishing and giving back began, and whether all was done."""

    @initialize(grace_s=st.sampled_from([0.0, 0.5, 20.0]))
    def begin(self, grace_s: float) -> None:
        self.drain = Drain(grace_s)
        self.now_s = 100.0
        self.worst = 0
        self.finishing_s: float | None = None
        self.giving_back_s: float | None = None
        self.closed = False

    @rule(passed_s=st.sampled_from([0.0, 0.1, 0.5, 5.0, 20.0, 100.0]))
    def wait(self, passed_s: float) -> None:
        self.now_s += passed_s

    @rule(reason=st.sampled_from(Reason))
    def ask(self, reason: Reason) -> None:
        self.drain = self.drain.ask(reason, self.now_s)
        self.worst = max(self.worst, CODES[reason])
        if self.closed or self.giving_back_s is not None:
            return
        if reason is Reason.BUS_GONE:
            self.giving_back_s = self.now_s
        elif self.finishing_s is None:
            self.finishing_s = self.now_s

    @rule(idle=st.booleans())
    def look(self, idle: bool) -> None:
        """One look moves it by one phase at most; what took too long is only noticed by looking."""
        self.drain = self.drain.step(self.now_s, idle=idle)
        if self.closed or self.finishing_s is self.giving_back_s is None:
            return
        if idle:
            self.closed = True
        elif self.giving_back_s is not None:
            self.closed = self.now_s >= self.giving_back_s + GIVE_BACK_S
        elif self.finishing_s is not None and self.now_s >= self.finishing_s + self.drain.grace_s:
            self.giving_back_s = self.now_s

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        assert self.drain.phase is self._phase()
        assert self.drain.exit_code == self.worst

    @invariant()
    def it_says_how_long_it_may_still_take(self) -> None:
        left_s = self.drain.remaining_s(self.now_s)
        match self._phase():
            case Phase.FINISHING:
                assert self.finishing_s is not None
                assert left_s == max(0.0, self.finishing_s + self.drain.grace_s - self.now_s)
            case Phase.GIVING_BACK:
                assert self.giving_back_s is not None
                assert left_s == max(0.0, self.giving_back_s + GIVE_BACK_S - self.now_s)
            case _:
                assert left_s == 0.0

    def _phase(self) -> Phase:
        if self.closed:
            return Phase.CLOSED
        if self.giving_back_s is not None:
            return Phase.GIVING_BACK
        return Phase.SERVING if self.finishing_s is None else Phase.FINISHING


DrainMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestDrain = DrainMachine.TestCase
