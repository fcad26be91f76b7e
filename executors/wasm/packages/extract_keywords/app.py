"""Keywords of a text by RAKE: phrases between stop words, scored by word degree over frequency."""

import json
import re
from collections import Counter
from collections.abc import Iterator

from componentize_py_types import Err
from wit_world import WitWorld as World

DEFAULT_LIMIT = 10
MAX_PHRASE_WORDS = 3
STOP_WORDS = frozenset(
    # English
    "a about above after again against all also am an and any are as at be because been before being below between "
    "both but by can could did do does doing down during each either else ever every few for from further get had has "
    "have having he her here hers him his how however i if in into is it its itself just let like may me might more "
    "most much must my no nor not now of off on once one only or other our out over own per said same shall she should "
    "so some such than that the their them then there these they this those through to too under until up upon us very "
    "was we were what when where which while who whom why will with within without would yet you your "
    # Russian
    "а без более бы был была были было быть в вам вас весь во вот все всего всех вы где да для до его ее если есть еще "
    "же за здесь и из или им их к как ко когда кто ли либо мне может мы на над надо наш не него нее нет ни них но ну о "
    "об однако он она они оно от очень по под при с со так также такой там те тем то того тоже той только том ты у уже "
    "хотя чего чей чем что чтобы чье чья эта эти это этот я "
    # German, French, Spanish: the commonest
    "der die das und ist ein eine zu den von mit auf für im nicht des dem sich auch es als an wird aus bei nach "
    "le la les et des du une est que qui dans pour pas sur plus par ce au se il ne sont avec "
    "el los las y en del un por con una su para es al lo como más pero sus".split()
)
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
BREAK = re.compile(r"[^\w\s'’-]|[\r\n]{2,}")
IDEOGRAPHS = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff]+")


class WitWorld(World):
    """The `agent` world: `handle` is the only export."""

    def handle(self, input: str) -> str:
        """Answer the keywords of `text`, best first."""
        try:
            params = json.loads(input)
            text = params["text"]
            limit = int(params.get("limit", DEFAULT_LIMIT))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Err(f"params must be an object with a string 'text': {error!r}") from error
        return json.dumps({"keywords": keywords(text, limit)}, ensure_ascii=False)


def keywords(text: str, limit: int) -> list[dict[str, object]]:
    """The `limit` best terms; ties go to the more frequent, then to alphabetical order."""
    phrases = Counter(candidates(text))
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for phrase, count in phrases.items():
        for word in phrase:
            frequency[word] += count
            degree[word] += len(phrase) * count
    scored = [
        (sum(degree[word] / frequency[word] for word in phrase) * count**0.5, count, phrase)
        for phrase, count in phrases.items()
    ]
    scored.sort(key=lambda item: (-item[0], -item[1], item[2]))
    return [
        {"term": " ".join(phrase), "count": count, "score": round(score, 4)}
        for score, count, phrase in scored[:limit]
    ]


def candidates(text: str) -> Iterator[tuple[str, ...]]:
    """Runs of words that are no stop words, at most three words long; ideographs go as pairs."""
    for fragment in BREAK.split(text.casefold()):
        run: list[str] = []
        for word in WORD.findall(fragment):
            if word in STOP_WORDS or word.isdigit() or IDEOGRAPHS.fullmatch(word):
                yield from pieces(run)
                run = []
                yield from ((word[i : i + 2],) for i in range(len(word) - 1) if IDEOGRAPHS.fullmatch(word))
            else:
                run.append(word)
        yield from pieces(run)


def pieces(run: list[str]) -> Iterator[tuple[str, ...]]:
    """A run cut into phrases of at most `MAX_PHRASE_WORDS`; one-letter words alone say nothing."""
    for start in range(0, len(run), MAX_PHRASE_WORDS):
        phrase = tuple(run[start : start + MAX_PHRASE_WORDS])
        if len(phrase) > 1 or len(phrase[0]) > 1:
            yield phrase
