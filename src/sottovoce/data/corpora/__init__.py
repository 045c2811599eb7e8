"""Corpora by name; a new one is a file here and a line below."""

from sottovoce.data.corpora.corpus import Corpus
from sottovoce.data.corpora.emodb import EMODB
from sottovoce.data.corpora.fluent import FLUENT
from sottovoce.data.corpora.fsdd import FSDD
from sottovoce.data.corpora.iemocap import IEMOCAP
from sottovoce.data.corpora.librispeech import LIBRISPEECH
from sottovoce.data.corpora.slurp import SLURP
from sottovoce.data.corpora.speech_commands import SUPERB, V1, V2
from sottovoce.data.corpora.speech_mini import SPEECH_MINI
from sottovoce.data.corpora.speechocean762 import SPEECHOCEAN762
from sottovoce.data.corpora.tedlium3 import TEDLIUM3
from sottovoce.data.corpora.voxceleb1 import VOXCELEB1

_ALL = (
    *(EMODB, FLUENT, FSDD, IEMOCAP, LIBRISPEECH, SLURP, V1, V2, SUPERB),
    *(SPEECH_MINI, SPEECHOCEAN762, TEDLIUM3, VOXCELEB1),
)
CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in sorted(_ALL, key=lambda corpus: corpus.name)}
