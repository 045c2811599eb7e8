"""Corpora by name; a new one is a file here and an import line below."""

from sottovoce.data.corpora.corpus import Corpus
from sottovoce.data.corpora.emodb import EMODB as EMODB
from sottovoce.data.corpora.fluent import FLUENT as FLUENT
from sottovoce.data.corpora.fsdd import FSDD as FSDD
from sottovoce.data.corpora.iemocap import IEMOCAP as IEMOCAP
from sottovoce.data.corpora.librispeech import LIBRISPEECH as LIBRISPEECH
from sottovoce.data.corpora.slurp import SLURP as SLURP
from sottovoce.data.corpora.speech_commands import SPEAKERS as SPEAKERS
from sottovoce.data.corpora.speech_commands import SUPERB as SUPERB
from sottovoce.data.corpora.speech_commands import V1 as V1
from sottovoce.data.corpora.speech_commands import V2 as V2
from sottovoce.data.corpora.speech_mini import SPEECH_MINI as SPEECH_MINI
from sottovoce.data.corpora.speechocean762 import SPEECHOCEAN762 as SPEECHOCEAN762
from sottovoce.data.corpora.tedlium3 import TEDLIUM3 as TEDLIUM3
from sottovoce.data.corpora.voxceleb1 import VOXCELEB1 as VOXCELEB1

CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in sorted(
        (found for found in globals().values() if isinstance(found, Corpus)), key=lambda corpus: corpus.name
    )
}
