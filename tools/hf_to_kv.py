#!/usr/bin/env python3
"""The tensors of Hugging Face's DynamicCache to a PrefixTorch state file.

    tools/hf_to_kv.py cache.safetensors state.safetensors --like any_state_of_the_model.safetensors
    tools/hf_to_kv.py cache.pt state.safetensors --like any_state_of_the_model.safetensors --ids ids.json    # needs torch

cache.safetensors holds key_cache.i and value_cache.i [1, KV, S, D], and input_ids [1, S] unless --ids gives them; cache.pt is what torch.save made
of ((key, value), ...): tuple((layer.keys.cpu(), layer.values.cpu()) for layer in cache.layers), or cache.to_legacy_cache() of older versions.
--like names a state that PrefixTorch saved with the same model and tokenizer: weights, rope and tokenizer are taken from it, for nothing in a
DynamicCache says what made it. `prefixtorch verify` shows whether it was that model.
"""
import argparse
import datetime
import json
import struct
import sys

import kv_state

SPECIAL = 1


def read_with_torch(path):
    import torch

    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    tensors = {}
    for i, pair in enumerate(torch.load(path, map_location="cpu", weights_only=True)):
        for name, tensor in zip(("key", "value"), pair):
            if tensor.dtype not in names:
                raise kv_state.StateError(f"{path}: the {name}s of layer {i} are {tensor.dtype}: convert them to float32, float16 or bfloat16.")
            tensors[f"{name}_cache.{i}"] = (names[tensor.dtype], list(tensor.shape), tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", help=".safetensors, or .pt with torch")
    parser.add_argument("state")
    parser.add_argument("--like", required=True, help="a state file of the same model")
    parser.add_argument("--ids", help="a JSON array of the token ids, or an object with input_ids")
    arguments = parser.parse_args()
    like, _ = kv_state.read(arguments.like)
    if like.get("format") != kv_state.FORMAT:
        raise kv_state.StateError(f"{arguments.like}: not a state file.")
    source = read_with_torch(arguments.cache) if arguments.cache.endswith(".pt") else kv_state.read(arguments.cache)[1]
    if arguments.ids:
        with open(arguments.ids, encoding="utf-8") as file:
            try:
                ids = json.load(file)
            except ValueError as error:
                raise kv_state.StateError(f"{arguments.ids}: no JSON ({error}): give an array of ids, or an object with input_ids.") from error
        ids = ids.get("input_ids") if isinstance(ids, dict) else ids
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise kv_state.StateError(f"{arguments.ids}: no ids: give a JSON array of integers, or an object with input_ids.")
    elif "input_ids" in source:
        ids = list(struct.unpack(f"<{len(source['input_ids'][2]) // 8}q", source["input_ids"][2]))
    else:
        raise kv_state.StateError(f"{arguments.cache}: it has no input_ids: give the tokens' ids with --ids.")

    layers = int(like["num_hidden_layers"])
    shape = [1, int(like["num_key_value_heads"]), len(ids), int(like["head_dim"])]
    tensors = {"input_ids": ("I64", [1, len(ids)], struct.pack(f"<{len(ids)}q", *ids))}
    if "logits" in source:
        tensors["logits"] = source["logits"]
    dtype = source["key_cache.0"][0] if "key_cache.0" in source else ""
    for i in range(layers):
        for name in ("key", "value"):
            tensor = source.get(f"{name}_cache.{i}")
            if tensor is None or list(tensor[1]) != shape or tensor[0] != dtype:
                found = "missing" if tensor is None else f"{tensor[0]} {list(tensor[1])}"
                raise kv_state.StateError(f"{arguments.cache}: {name}_cache.{i} is {found}, and {dtype} {shape} is needed for {len(ids)} tokens of {like['model']}.")
            tensors[f"{name}.{i}"] = tensor
    tensors["token_origins"] = ("U8", [len(ids)], bytes([SPECIAL]) * len(ids))
    tensors["pass_starts"] = ("U8", [len(ids)], (b"\1" + bytes(len(ids)))[:len(ids)])
    same = ("format", "model", "weights", "rope", "tokenizer", "num_hidden_layers", "num_key_value_heads", "head_dim")
    metadata = {key: like[key] for key in same}
    metadata |= {
        "version": "2",
        "kv_dtype": dtype,
        "length": str(len(ids)),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "fact.from": "hf_to_kv.py",
    }
    kv_state.write_state(arguments.state, metadata, tensors)


if __name__ == "__main__":
    try:
        main()
    except (kv_state.StateError, OSError, ImportError, ValueError) as error:
        sys.exit(str(error))
