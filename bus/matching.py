"""NATS subject matching, as the server does it."""


def matches(pattern: str, subject: str) -> bool:
    """Whether `subject` falls under `pattern`: `*` is exactly one token, a final `>` is one or more.

    Tokens compare as whole strings, case-sensitively. Both are expected to be well-formed: no empty token, `>` only
    at the end of `pattern`.
    """
    if pattern.endswith(".>") and "*" not in pattern:
        return subject.startswith(pattern[:-1]) and len(subject) >= len(pattern)
    wanted = pattern.split(".")
    given = subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(given) <= len(wanted):
            return False
    elif len(given) != len(wanted):
        return False
    return all(want in ("*", have) for want, have in zip(wanted, given, strict=False))
