"""A corpus that needs no download: sentences from templates, spoken by espeak-ng's many voices, with exact phones.

It shows that a compressed model still works, and is small enough for a test; it is no measure of real speech.
"""

import io
import itertools
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from sottovoce.data.audio import SAMPLE_RATE
from sottovoce.data.espeak import Voice, speak
from sottovoce.data.utterance import MANIFEST, Utterance, write_manifest
from sottovoce.errors import SottovoceError, unknown
from sottovoce.files import atomic_write
from sottovoce.progress import track

LICENCE = "CC0-1.0"
TASKS = ("read", "keywords", "speakers", "emotion", "intents")
SPLITS = ("train", "dev", "test")
# Utterances of each split at size 1: in all of "read", a voice of "speakers", a label of the others, a language.
COUNTS = {
    "read": (210, 30, 50),
    "keywords": (14, 4, 5),
    "speakers": (5, 1, 2),
    "emotion": (24, 6, 10),
    "intents": (12, 3, 4),
    "unlabelled": (40, 5, 5),
}
VOICES = 40
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc", "en-gb-x-gbclan")
# Without those that whisper, croak or play a robot, those with an echo (it runs on into the next phone), and twins.
HIGH = "Andrea Annie anika aunty belinda f1 grandma linda shelby steph steph2 Nguyen"
LOW = (
    "Alex Andy Denis Diogo Gene Gene2 Henrique Jacky Lee Mario Michael Mike Storm antonio boris ed grandpa gustave "
    "ian iven iven2 iven3 iven4 john kaukovalta m1 m3 m4 m5 m6 m7 m8 marcelo michel miguel norbert paul pedro quincy "
    "rob robert travis"
)
# Prosodic styles, not emotions: espeak has none. Pitch, its range, words a minute; and the level of each.
STYLES = {"calm": (46, 25, 145), "excited": (66, 92, 205), "sad": (34, 16, 122), "angry": (46, 70, 200)}
# dB of the full scale, by the root of the mean square.
LEVELS = {"calm": -26.0, "excited": -22.0, "sad": -33.0, "angry": -19.0}

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start")
UNKNOWN = "_unknown_"
OTHERS = (
    "bed bird cat dog happy house marvin sheila tree wow zero one two three four five six seven eight nine river "
    "cloud paper window garden yellow summer chair voice measure bridge thunder apple engine mother father button "
    "kitchen over under nobody stone loft ride town goat nose opera"
)

# {name} stands for any of the words under that name, which may hold names themselves.
WORDS = {
    "who": "my brother|my sister|the teacher|our neighbour|the old man|a young woman|the doctor|her cousin|the farmer|"
    "the baker|their uncle|the boy|the girl|a stranger|the judge|the captain|my friend {name}|{name}|"
    "{name} and {name}|the {adj} {person}|nobody|somebody|everyone in the {place}",
    "person": "child|painter|driver|student|singer|nurse|sailor|waiter|cook|clerk|poet|guest|nephew|chemist|shepherd|"
    "king",
    "name": "Anna|Martin|Joyce|Roy|George|Ruth|Chloe|Thomas|Julia|Hugh|Beth|Oscar|Lucy|Victor|Sheila|Keith|Zoe|Paul|"
    "Charlotte|Jack|Vera|Simon|Rachel|Arthur|Nadia|Ian|Claire|Leo|Judith|Floyd",
    "adj": "small|huge|yellow|quiet|noisy|broken|wooden|smooth|rough|cheap|ancient|modern|cheerful|lonely|heavy|"
    "narrow|thick|thin|bright|dark|strange|usual|royal|golden|dusty|frozen|gentle|clever|lazy|famous|fresh|bitter|"
    "sour|wild|curious|blue|purple|orange|round|crooked|beige|joyful|whole|spare|worthy|northern",
    "thing": "book|chair|bridge|treasure|letter|boat|garage|lamp|picture|basket|mirror|bottle|television|coat|ladder|"
    "engine|key|box|bicycle|machine|map|drum|kettle|jewel|watch|camera|carpet|needle|shovel|piano|wheel|bell|rope|"
    "brush|toy|coin|flag|vase|jar|candle|cushion|hammer|magazine|path|cage|cloth|tooth|helmet|violin|orchid|shoe|fire|"
    "notebook",
    "food": "bread|soup|cheese|an orange|two pears|rice|fish|jam|a sandwich|chocolate|fresh juice|boiled eggs|"
    "mushrooms|ginger cake|roast beef|sugar|porridge|lemon tea|oysters|warm milk|a bowl of noodles|half a pie",
    "did": "bought|found|painted|carried|measured|dropped|noticed|repaired|sold|borrowed|hid|lost|washed|pushed|"
    "pulled|chose|enjoyed|destroyed|brought|shook|caught|stole|described|watched|covered|weighed|threw|moved|cleaned|"
    "joined",
    "do": "find|carry|measure|choose|avoid|change|open|close|share|push|fetch|show|keep|join|paint|leave|bring|use|"
    "hide",
    "went": "walked|ran|slept|waited|sang|laughed|worked|stood|rested|shouted|played|sat|travelled|danced|prayed|"
    "smoked|stayed|vanished|arrived|coughed|yawned|whispered",
    "place": "kitchen|garden|village|harbour|station|church|forest|valley|museum|school|office|desert|theatre|market|"
    "castle|library|city|hotel|field|cellar|south|island|workshop|hospital|beach|mountains|square|bath",
    "near": "in|near|behind|outside|beyond|above|beneath",
    "when": "yesterday|this morning|on Thursday|at noon|last month|in July|after lunch|before the storm|twice a year|"
    "every evening|at midnight|all through the night|on Wednesday|long ago|for an hour|in the spring|at the weekend",
    "how": "slowly|quickly|quietly|with pleasure|without a word|by chance|in a hurry|too soon|very well|as usual|"
    "alone|with great joy|in good faith|carefully|on purpose",
    "beast": "horse|dog|cat|sheep|fox|mouse|goose|frog|bear|whale|wolf|hedgehog|thrush|donkey|spider|beaver|lynx|calf",
    "weather": "rain|snow|fog|thunder|sunshine|wind|frost|a cold breeze|hail|clear skies|an azure sky",
    "number": "two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|fifty",
    "room": "kitchen|bedroom|hall|bathroom|garage|living room|cellar|office",
    "song": "some jazz|a quiet song|the radio|my favourite album|some guitar music|a waltz|the new record by {name}",
    "town": "London|Paris|Boston|Dublin|Chicago|Vienna|Leeds|Cairo|Tokyo|Oslo|York|Madrid",
    "day": "today|tomorrow|this evening|on Friday|on Sunday|next week|tonight|right now",
}  # fmt: skip
SENTENCES = (
    "{who} {did} the {adj} {thing}", "{who} {did} a {thing} {near} the {place}",
    "{who} {went} {near} the {adj} {place}", "{who} {went} {how} {when}",
    "the {beast} {went} {near} the {adj} {thing}", "{who} ate {food} {when}", "{when} {who} {did} the {thing} {how}",
    "did {name} {do} the {adj} {thing}?", "can you {do} the {thing} for {name}?",
    "there was {weather} {near} the {place} {when}", "the {thing} {near} the {place} is {adj}",
    "please {do} the {thing}", "{name} thinks that the {thing} looks {adj}",
    "{number} {adj} birds flew over the {place}", "where is the {thing}?", "we should {do} the {thing} {when}",
    "{who} gave the {beast} {food}", "why would {who} {do} this {thing}?",
    "they could hear the {beast} {near} the {place}", "it is a pleasure to {do} the {adj} {thing}",
    "{who} put {food} and {food} on the table", "both the {thing} and the {thing} are {adj}", "{who} {went} {when}",
    "the {person} took a good look at the {thing}", "my decision is to {do} the {adj} {thing} {how}", "{name} {went}",
    "I have never seen such {weather} {near} the {place}", "the {beast} and the {beast} {went} {how}",
    "{name} sold {number} of these for {number} pounds", "her voice was {adj} and his was {adj}",
)  # fmt: skip
INTENTS = {
    "lights_on": "turn on the lights in the {room}|switch the {room} light on|it is too dark in the {room}|lights on",
    "lights_off": "turn off the {room} lights|switch off the light in the {room}|make the {room} dark|lights off",
    "music_play": "play {song}|put on {song}|I would like to hear {song}|start {song} in the {room}",
    "music_stop": "stop the music|turn {song} off|no more music in the {room}|please be quiet|pause {song}",
    "volume_up": "louder please|turn the volume up by {number}|make it louder in the {room}|I can hardly hear {song}",
    "volume_down": "lower the volume|turn it down by {number}|{song} is too loud|make it quieter in the {room}",
    "timer_set": "set a timer for {number} minutes|count down {number} minutes|tell me when {number} minutes are over",
    "alarm_set": "wake me at {number} {day}|set an alarm for {number} o'clock|I must get up at {number} {day}",
    "weather_query": "what is the weather in {town} {day}?|will it rain in {town}?|do I need an umbrella {day}?|"
    "how cold is it in {town}?",
    "message_send": "send a message to {name}|tell {name} that I am late|write to {name} that we meet {day}|"
    "text {name}",
    "call_start": "call {name}|ring {name} {day}|I want to talk to {name}|phone {name} at the {place}",
    "heating_up": "make the {room} warmer|heat the {room} to {number} degrees|I am cold in the {room}|"
    "turn the heating up",
}  # fmt: skip

# Frequent words, to be strung together at random: enough for the sounds of a language, though not for its sense.
LANGUAGES = {
    "de": "und der die das ich nicht ist es ein zu in sie mit auf für wir haben sein werden aber auch schon schön "
    "groß klein Haus Straße Kind Mutter Vater Wasser Brot Buch Zeit Jahr Tag Nacht heute morgen gestern gehen kommen "
    "sprechen hören sehen machen können müssen zwischen über unter zwölf fünf acht Stück Köln Freund Mädchen Küche "
    "Pferd richtig",
    "fr": "le la les un une des et est je tu il elle nous vous avoir être faire aller venir voir pouvoir vouloir "
    "maison rue enfant mère père eau pain livre temps année jour nuit demain hier bon vin blanc rouge petit grand "
    "jeune vieux beaucoup peu toujours jamais aujourd'hui deux trois huit fille garçon cuisine cheval chien oiseau "
    "feuille lune champ",
    "es": "el la los una y es yo tú él ella nosotros tener ser hacer ir venir ver poder querer casa calle niño madre "
    "padre agua pan libro tiempo año día noche mañana ayer bueno rojo pequeño grande joven viejo mucho poco siempre "
    "nunca hoy dos tres ocho muchacha cocina caballo perro pájaro hoja luna campo guerra lluvia queso zapato jefe "
    "ciudad gente",
    "it": "il la lo gli una e è io tu lui lei noi avere essere fare andare venire vedere potere volere casa strada "
    "bambino madre padre acqua pane libro tempo anno giorno notte domani ieri buono rosso piccolo grande giovane "
    "vecchio molto poco sempre mai oggi due tre otto ragazza cucina cavallo cane uccello foglia luna campo guerra "
    "pioggia formaggio scarpa città gente zio",
    "pt": "o a os uma e é eu tu ele ela nós ter ser fazer ir vir ver poder querer casa rua criança mãe pai água pão "
    "livro tempo ano dia noite amanhã ontem bom vermelho pequeno grande jovem velho muito pouco sempre nunca hoje "
    "dois três oito menina cozinha cavalo cão pássaro folha lua campo guerra chuva queijo sapato cidade gente coração "
    "lhe não",
    "nl": "de het een en is ik jij hij zij wij hebben zijn doen gaan komen zien kunnen willen huis straat kind moeder "
    "vader water brood boek tijd jaar dag nacht morgen gisteren goed rood klein groot jong oud veel weinig altijd "
    "nooit vandaag twee drie acht meisje keuken paard hond vogel blad maan veld oorlog regen kaas schoen stad mensen "
    "geluid uit",
    "pl": "i w na nie to jest ja ty on ona my mieć być robić iść widzieć móc chcieć dom ulica dziecko matka ojciec "
    "woda chleb książka czas rok dzień noc jutro wczoraj dobry czerwony mały duży młody stary dużo mało zawsze nigdy "
    "dzisiaj dwa trzy osiem dziewczyna kuchnia koń pies ptak liść księżyc pole wojna deszcz ser but miasto ludzie "
    "szczęście źle",
    "tr": "ve bir bu o ben sen biz var yok olmak yapmak gitmek gelmek görmek istemek ev sokak çocuk anne baba su "
    "ekmek kitap zaman yıl gün gece yarın dün iyi kırmızı küçük büyük genç yaşlı çok az her hiç bugün iki üç sekiz "
    "kız mutfak at köpek kuş yaprak ay tarla savaş yağmur peynir ayakkabı şehir insan güzel teşekkür gözlük dağ ışık",
    "sv": "och en ett är jag du han hon vi ha vara göra gå komma se kunna vilja hus gata barn mor far vatten bröd bok "
    "tid år dag natt imorgon igår god röd liten stor ung gammal mycket lite alltid aldrig idag två tre åtta flicka "
    "kök häst hund fågel blad måne fält krig regn ost sko stad folk sju sjön skön tjugo kyrka ljus",
    "fi": "ja on ei se minä sinä hän me olla tehdä mennä tulla nähdä voida haluta talo katu lapsi äiti isä vesi leipä "
    "kirja aika vuosi päivä yö huomenna eilen hyvä punainen pieni suuri nuori vanha paljon vähän aina koskaan tänään "
    "kaksi kolme kahdeksan tyttö keittiö hevonen koira lintu lehti kuu pelto sota sade juusto kenkä kaupunki ihmiset "
    "työ",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """An utterance before it is spoken.

    Example:
        >>> plan(tasks=["keywords"])[0].label
        'yes'
    """

    id: str
    task: str
    split: str
    spoken: str
    voice: Voice
    level: float
    label: str | None = None


def make(
    *,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    size: float = 1.0,
    languages: Sequence[str] = (),
    noise: float | None = None,
) -> list[Utterance]:
    """The corpus in memory: about half an hour at size 1, made in some ten seconds.

    The labels of "emotion" are prosodic styles, not emotions. `languages` adds speech for pretraining (random words,
    task "unlabelled"), and `noise` adds white or pink noise at so many dB below the speech.

    Example:
        >>> keywords = make(tasks=["keywords"], size=0.1)
    """
    return list(utterances(seed=seed, tasks=tasks, size=size, languages=languages, noise=noise))


def write(
    folder: str | Path,
    *,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    size: float = 1.0,
    languages: Sequence[str] = (),
    noise: float | None = None,
) -> list[Utterance]:
    """Write the corpus as FLAC files and a manifest, which comes last; files that are there and right are kept.

    Example:
        >>> corpus = write("speech", size=0.1)
    """
    place, written = Path(folder), []
    for utterance in utterances(seed=seed, tasks=tasks, size=size, languages=languages, noise=noise):
        path = place / str(utterance.task or "read") / str(utterance.split) / f"{utterance.id}.flac"
        buffer = io.BytesIO()
        # As whole numbers: what is read back is what `make` gives, sample for sample.
        soundfile.write(buffer, (np.asarray(utterance.audio) * 32768).astype(np.int16), SAMPLE_RATE, format="FLAC")
        if not path.is_file() or path.read_bytes() != buffer.getvalue():
            atomic_write(path, buffer.getvalue())
        written.append(replace(utterance, audio=path))
    write_manifest(place / MANIFEST, written)
    return written


def utterances(
    *,
    seed: int = 0,
    tasks: Sequence[str] = TASKS,
    size: float = 1.0,
    languages: Sequence[str] = (),
    noise: float | None = None,
) -> Iterator[Utterance]:
    """The utterances of `make` one by one, for a corpus that is larger than the memory.

    Example:
        >>> first = next(utterances(size=0.1))
    """
    lines = plan(seed=seed, tasks=tasks, size=size, languages=languages)
    for line in track(lines, "speaking", len(lines)):
        samples, phones = speak(line.spoken, line.voice)
        yield Utterance(
            line.id,
            _recorded(samples, line, noise),
            len(samples) / SAMPLE_RATE,
            text=_plain(line.spoken),
            phones=phones,
            speaker=line.voice.name,
            label=line.label,
            # Read speech serves recognition, phones and verification at once.
            task=None if line.task == "read" else line.task,
            split=line.split,
            licence=LICENCE,
        )


def plan(
    *, seed: int = 0, tasks: Sequence[str] = TASKS, size: float = 1.0, languages: Sequence[str] = ()
) -> list[Line]:
    """Who says what in which split, without a sound.

    In all tasks but "speakers", dev and test have voices (variants of espeak's voice) that train does not have.

    Example:
        >>> len(plan(tasks=["emotion"]))
        160
    """
    for task in tasks:
        if task not in TASKS:
            raise unknown("task", task, TASKS)
    for language in languages:
        if language not in LANGUAGES:
            raise unknown("language", language, LANGUAGES)
    if not 0 < size < 10_000:
        raise SottovoceError(f"size is {size}, but a number above 0 is wanted; 1 gives about half an hour.")
    lines: list[Line] = []
    for task in [*tasks, *(["unlabelled"] if languages else [])]:
        seen: set[str] = set()
        for split, count in zip(SPLITS, COUNTS[task], strict=True):
            rng = random.Random(f"{seed}/{task}/{split}")
            voices = _speakers(seed) if task == "speakers" else _voices(seed)[split]
            drafts = _drafts(task, max(1, round(count * size)), voices, languages, rng, seen)
            for index, (label, spoken, voice) in enumerate(drafts):
                name = f"espeak{seed}-{task}-{split}-{index:05d}"
                # Nobody speaks at quite the same pitch, rate and level twice.
                pitch, rate = voice.pitch + rng.randint(-2, 2), voice.rate + rng.randint(-10, 10)
                level = LEVELS[str(label)] + rng.uniform(-1, 1) if task == "emotion" else rng.uniform(-30, -20)
                voice = replace(voice, pitch=pitch, rate=rate)
                lines.append(Line(name, task, split, spoken, voice, level, label))
    return lines


def _drafts(
    task: str, number: int, voices: list[Voice], languages: Sequence[str], rng: random.Random, seen: set[str]
) -> Iterator[tuple[str | None, str, Voice]]:
    """Label, text and voice of a task's utterances; no sentence that is in `seen` comes again."""
    turns = itertools.cycle(voices)
    if task == "read":
        for _ in range(number):
            yield None, _new_sentence(rng, seen), next(turns)
    elif task == "speakers":
        for voice in voices:
            for _ in range(number):
                yield voice.name, _new_sentence(rng, seen), voice
    elif task == "emotion":
        for style, (pitch, pitch_range, rate) in STYLES.items():
            # The same voices in each style, so that no voice gives a style away.
            for voice in itertools.islice(itertools.cycle(voices), number):
                styled = replace(voice, pitch=pitch, pitch_range=pitch_range, rate=rate)
                yield style, _new_sentence(rng, seen), styled
    elif task == "intents":
        for intent, wordings in INTENTS.items():
            for _ in range(number):
                yield intent, _filled(rng.choice(wordings.split("|")), rng), next(turns)
    elif task == "keywords":
        for label in [*KEYWORDS, UNKNOWN]:
            for _ in range(number):
                yield label, _filled(rng.choice(OTHERS.split()) if label == UNKNOWN else label, rng), next(turns)
    else:
        for language in languages:
            for _ in range(number):
                words = rng.choices(LANGUAGES[language].split(), k=rng.randint(4, 10))
                yield None, _filled(" ".join(words), rng), replace(next(turns), language=language)


def _voices(seed: int) -> dict[str, list[Voice]]:
    """The voices of each split in random order; no variant is in two, and each of dev and test has one accent."""
    rng = random.Random(f"{seed}/voices")
    voices: dict[str, list[Voice]] = {split: [] for split in SPLITS}
    for group in (HIGH.split(), LOW.split()):
        for turn, variant in enumerate(rng.sample(group, len(group))):
            split = "test" if turn < len(group) // 5 else "dev" if turn < len(group) // 3 else "train"
            for accent in rng.sample(ACCENTS, 3 if split == "train" else 1):
                voices[split].append(_voice(accent, variant, rng))
    return {split: rng.sample(pool, len(pool)) for split, pool in voices.items()}


def _speakers(seed: int) -> list[Voice]:
    """The voices to be told apart, each with a variant of its own."""
    rng = random.Random(f"{seed}/speakers")
    return [_voice(rng.choice(ACCENTS), variant, rng) for variant in rng.sample([*HIGH.split(), *LOW.split()], VOICES)]


def _voice(accent: str, variant: str, rng: random.Random) -> Voice:
    return Voice(accent, variant, rng.randint(42, 58), rng.randint(40, 60), rng.randint(158, 188))


def _new_sentence(rng: random.Random, seen: set[str]) -> str:
    while (sentence := _filled(rng.choice(SENTENCES), rng)) in seen:
        pass
    seen.add(sentence)
    return sentence


def _filled(template: str, rng: random.Random) -> str:
    """A template with words for its names, and a full stop if it has no question mark."""
    while "{" in template:
        template = re.sub(r"\{(\w+)\}", lambda match: rng.choice(WORDS[match[1]].split("|")), template)
    return template if template.endswith("?") else f"{template}."


def _plain(spoken: str) -> str:
    """As transcripts are written: upper case, and of all signs only the apostrophe."""
    return re.sub(r"[^\w' ]", "", spoken).upper()


def _recorded(samples: np.ndarray, line: Line, noise: float | None) -> np.ndarray:
    """The samples at the level of their line, with noise below them, as 16 bits would hold them."""
    level = float(np.sqrt(np.mean(samples**2)))
    gain = min(10 ** (line.level / 20) / level, 0.95 / float(np.abs(samples).max()))
    loud = gain * samples.astype(np.float64)
    if noise is not None:
        generator = np.random.default_rng(random.Random(f"noise/{line.id}").getrandbits(64))
        hiss = generator.standard_normal(len(loud))
        if generator.random() < 0.5:
            # Pink: power falls with the frequency.
            spectrum = np.fft.rfft(hiss)
            hiss = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(loud))
        loud += hiss * gain * level * 10 ** (-noise / 20) / np.sqrt(np.mean(hiss**2))
    return (np.clip(np.round(loud * 32768), -32768, 32767) / 32768).astype(np.float32)
