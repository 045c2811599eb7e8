"""The target `web`: a page that hears the microphone and files, with the model in it, for any server or none."""

import base64
import gzip
import json
import shutil
from html import escape
from pathlib import Path
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.exporting.onnx import about, write_json
from sottovoce.exporting.ort_web import PACKAGE, runtime
from sottovoce.exporting.target import ORIGINAL, Order, needs_tokens, register_target
from sottovoce.files import free_name
from sottovoce.look import style
from sottovoce.models.anatomy import Anatomy
from sottovoce.runtimes.graph import Graph, gives
from sottovoce.tasks.kinds import DELIMITER
