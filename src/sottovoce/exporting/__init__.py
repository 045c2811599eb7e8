"""Exported models: one file a target; importing this folder registers them."""

from sottovoce.exporting.check import Disagreement as Disagreement
from sottovoce.exporting.executorch import executorch as executorch
from sottovoce.exporting.onnx import onnx as onnx
from sottovoce.exporting.onnx_asr import onnx_asr as onnx_asr
from sottovoce.exporting.openvino import openvino as openvino
from sottovoce.exporting.run import Exported as Exported
from sottovoce.exporting.run import export as export
from sottovoce.exporting.sherpa_onnx import sherpa_onnx as sherpa_onnx
from sottovoce.exporting.target import TARGETS as TARGETS
from sottovoce.exporting.target import register_target as register_target
from sottovoce.exporting.transformers_js import transformers_js as transformers_js
from sottovoce.exporting.web import web as web
