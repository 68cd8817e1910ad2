#!/usr/bin/env python3
"""A PrefixTorch state file to the tensors of Hugging Face's DynamicCache.

    tools/kv_to_hf.py state.safetensors cache.safetensors    # key_cache.i, value_cache.i, input_ids, logits; needs nothing installed
    tools/kv_to_hf.py state.safetensors cache.pt             # ((key, value), ...) with torch.save; needs torch

From there to transformers: DynamicCache.from_legacy_cache(tuple), or one update(key, value, layer) for each layer of either file.
A delta or a quantized state is made whole first: prefixtorch state compact. One that an 8-bit cache saved is of 8 bits as a whole: prefixtorch state export
widens it to the same tensors as here.
"""
import argparse
import sys

import kv_state


def plain(tensors, layers):
    """The tensors under the names of DynamicCache's lists."""
    out = {"input_ids": tensors["input_ids"]}
    if "logits" in tensors:
        out["logits"] = tensors["logits"]
    for i in range(layers):
        out[f"key_cache.{i}"] = tensors[f"key.{i}"]
        out[f"value_cache.{i}"] = tensors[f"value.{i}"]
    return out


def save_with_torch(path, tensors, layers):
    import torch

    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

    def tensor(name):
        dtype, shape, payload = tensors[name]
        return torch.frombuffer(bytearray(payload), dtype=dtypes[dtype]).reshape(shape).clone()

    torch.save(tuple((tensor(f"key.{i}"), tensor(f"value.{i}")) for i in range(layers)), path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state")
    parser.add_argument("output", help=".safetensors, or .pt with torch")
    arguments = parser.parse_args()
    metadata, tensors = kv_state.read_state(arguments.state)
    layers = int(metadata["num_hidden_layers"])
    if arguments.output.endswith(".pt"):
        save_with_torch(arguments.output, tensors, layers)
    else:
        kv_state.write(arguments.output, {"format": "pt", "model": metadata["model"]}, plain(tensors, layers))


if __name__ == "__main__":
    try:
        main()
    except (kv_state.StateError, OSError, ImportError) as error:
        sys.exit(str(error))
