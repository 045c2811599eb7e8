"""Speech: utterances and their manifests, and the audio that they name."""
