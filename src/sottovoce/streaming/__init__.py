"""Recordings of any length in constant memory: windows with context, joined without seams; text with times."""

from sottovoce.streaming.stream import Part, Stream, stream
from sottovoce.streaming.tokens import Token
from sottovoce.streaming.transcript import Transcript, Word, transcribe

__all__ = ["Part", "Stream", "Token", "Transcript", "Word", "stream", "transcribe"]
