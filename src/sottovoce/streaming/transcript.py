"""Text with times: words of tokens, lines for subtitles, SRT and WebVTT."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.streaming.sources import Audio
from sottovoce.streaming.stream import CHUNK, LEFT, RIGHT, Part, Stream, stream
from sottovoce.streaming.tokens import Token
from sottovoce.tasks.kinds import DELIMITER

PAUSE = 0.8  # seconds between words that end a line
LONGEST, LETTERS = 6.0, 80  # seconds and letters of a line of subtitles


@dataclass(frozen=True)
class Word:
    """A word, or a phone where the head knows phones, from when to when in seconds, and how likely its labels were.

    Example:
        >>> Word("BEAR", 0.5, 0.9, 0.98).text
        'BEAR'
    """

    text: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording of so many seconds.

    Example:
        >>> Transcript((), 1.0).vtt()
        'WEBVTT\\n'
    """

    words: tuple[Word, ...]
    seconds: float

    @property
    def text(self) -> str:
        """The words, with spaces between them."""
        return " ".join(word.text for word in self.words)

    def lines(self) -> list[Word]:
        """The words as lines of subtitles: a new one after a pause, and before one grows too long.

        Example:
            >>> Transcript((Word("WE", 0.1, 0.2, 0.9), Word("CALL", 3.0, 3.5, 0.8)), 4.0).lines()[1].text
            'CALL'
        """
        lines: list[list[Word]] = []
        for word in self.words:
            line = lines[-1] if lines else []
            letters = sum(len(each.text) + 1 for each in line) + len(word.text)
            if (
                line
                and word.start - line[-1].end < PAUSE
                and word.end - line[0].start <= LONGEST
                and letters <= LETTERS
            ):
                line.append(word)
            else:
                lines.append([word])
        return [joined(line) for line in lines]

    def srt(self) -> str:
        """The lines as SubRip subtitles."""
        blocks = [
            f"{number}\n{clock(line.start, ',')} --> {clock(line.end, ',')}\n{line.text}\n"
            for number, line in enumerate(self.lines(), 1)
        ]
        return "\n".join(blocks)

    def vtt(self) -> str:
        """The lines as WebVTT subtitles."""
        blocks = [f"{clock(line.start)} --> {clock(line.end)}\n{escaped(line.text)}\n" for line in self.lines()]
        return "\n".join(["WEBVTT\n", *blocks])

    def record(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"text": self.text, "seconds": round(self.seconds, 3), "words": [vars(word) for word in self.words]}


def transcribe(
    model: Any,
    audio: Audio,
    *,
    chunk: float = CHUNK,
    left: float = LEFT,
    right: float = RIGHT,
    threads: int | None = None,
) -> Transcript:
    """The text of a recording of any length, with times; the options are those of `stream`.

    Example:
        >>> transcribe(sv.load("my-letters"), "interview.flac").text  # doctest: +SKIP
        'WE CALL IT BEAR'
    """
    hears = stream(model, chunk=chunk, left=left, right=right, threads=threads)
    check_text(hears)
    return transcript_of(hears(audio), hears.labels)


def check_text(hears: Stream) -> None:
    """Refuse a model whose head writes no text.

    Example:
        >>> check_text(stream(sv.load("small-hubert")))
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: this model gives states, but one with a CTC head is wanted; fine-tune it ...
    """
    if hears.runner.gives != "tokens":
        raise SottovoceError(
            f"this model gives {hears.runner.gives}, but one with a CTC head is wanted; fine-tune it for asr or pr, "
            "or run `sottovoce classify` on a classifier."
        )


def transcript_of(parts: Iterable[Part], labels: Sequence[str]) -> Transcript:
    """The words of all parts; where no label stands between words, each token is one.

    Example:
        >>> transcript_of([Part(0.0, 1.0, {}, (Token("AH", 0.1, 0.2, 0.9),))], ["<pad>", "AH"]).text
        'AH'
    """
    end = 0.0

    def tokens() -> Iterator[Token]:
        nonlocal end
        for part in parts:
            end = part.end
            yield from part.tokens

    words = tuple(words_of(tokens(), DELIMITER if DELIMITER in labels else None))
    return Transcript(words, end)


def words_of(tokens: Iterable[Token], delimiter: str | None) -> Iterator[Word]:
    """Tokens as words.

    Example:
        >>> [word.text for word in words_of([Token("W", 0, 1, 1), Token("E", 1, 2, 1), Token("|", 2, 3, 1)], "|")]
        ['WE']
    """
    held: list[Word] = []
    for token in tokens:
        if token.label != delimiter:
            held.append(Word(token.label, token.start, token.end, token.probability))
        if held and (token.label == delimiter or delimiter is None):
            yield joined(held, "")
            held = []
    if held:
        yield joined(held, "")


def joined(words: Sequence[Word], between: str = " ") -> Word:
    """Several words as one.

    Example:
        >>> joined([Word("WE", 0.0, 0.2, 0.9), Word("CALL", 0.3, 0.5, 0.7)])
        Word(text='WE CALL', start=0.0, end=0.5, probability=0.8)
    """
    sure = round(sum(word.probability for word in words) / len(words), 4)
    return Word(between.join(word.text for word in words), words[0].start, words[-1].end, sure)


def clock(seconds: float, point: str = ".") -> str:
    """A time as subtitles write it.

    Example:
        >>> clock(3661.5), clock(1.25, ",")
        ('01:01:01.500', '00:00:01,250')
    """
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d}{point}{whole % 1000:03d}"


def escaped(text: str) -> str:
    """Text as WebVTT takes it.

    Example:
        >>> escaped("A & B")
        'A &amp; B'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
