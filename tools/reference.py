#!/usr/bin/env python3
"""The demo in Python, with Hugging Face transformers: the same steps as `prefixtorch demo`, to compare with on the same weights.

Reads a prompt once, keeps past_key_values, saves it with torch.save, restores it, and continues a copy of it with several
suffixes, greedily. Each continuation stands beside a full recompute of prompt and suffix. Needs transformers 5 and torch.

    python3 tools/reference.py --model weights/tiny-tolstoy
    python3 tools/reference.py --model DIR --prompt "Once upon a time" --suffix ", a king" --suffix ", a queen" --json
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import time

try:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
except ImportError:
    torch = None  # --help needs neither

STORY = "Prince Andrew rode up to the battery and looked at the French camp across the river."
STORY_SUFFIXES = [
    " He thought of his father,",
    ' "What is that?" he asked.',
    " The soldiers were silent.",
    " It was already dark when",
    "",
    "\n\nMeanwhile, in Moscow, Natasha",
]
QUESTION = "What are the three main types of machine learning?"
QUESTION_SUFFIXES = [" The three main types are:", " Answer in one sentence.", ""]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="weights/tiny-tolstoy", metavar="DIR", help="a checkpoint's folder")
    parser.add_argument("--prompt", help="what is read once (default: a sentence, or for instruct models a question)")
    parser.add_argument("--suffix", action="append", help="what a copy continues with; may be repeated")
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--ignore-eos", action="store_true", help="go on after an end token")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args()


def last_logits(output):
    return output.logits[0, -1].float()


def read(model, ids, cache):
    """Reads ids behind what the cache holds, which grows by them; gives the logits after the last."""
    return last_logits(model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True, logits_to_keep=1))


def generate(model, ids, cache, max_new_tokens, stop_ids):
    """Greedy ids after all of `ids`, of which the cache holds the first; the cache grows. Also the seconds up to the first id, and all."""
    start = time.perf_counter()
    logits = read(model, ids[cache.get_seq_length():], cache)
    first = None
    new_ids = []
    while True:
        token = int(logits.argmax())
        new_ids.append(token)
        first = first if first is not None else time.perf_counter() - start
        if token in stop_ids or len(new_ids) == max_new_tokens:
            return new_ids, first, time.perf_counter() - start
        logits = read(model, [token], cache)


def save(cache, ids, path):
    torch.save({"input_ids": ids, "layers": [(layer.keys, layer.values) for layer in cache.layers]}, path)


def restore(path, config):
    saved = torch.load(path, weights_only=True)
    cache = DynamicCache(config=config)
    for index, (keys, values) in enumerate(saved["layers"]):
        cache.update(keys, values, index)
    return saved["input_ids"], cache


def fork(cache, prefix_ids, ids):
    """A copy of the cache, cut to the part that prefix and ids share. One id at least is left to read, for its logits."""
    shared = 0
    while shared < min(len(prefix_ids), len(ids) - 1) and prefix_ids[shared] == ids[shared]:
        shared += 1
    own = copy.deepcopy(cache)
    own.crop(shared)
    return own, shared


def stop_tokens(model, ignore):
    ids = None if ignore else model.generation_config.eos_token_id
    return set() if ids is None else {ids} if isinstance(ids, int) else set(ids)


def run(arguments):
    start = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype).eval()
    load_seconds = time.perf_counter() - start

    instruct = tokenizer.chat_template is not None
    prompt = arguments.prompt if arguments.prompt is not None else QUESTION if instruct else STORY
    suffixes = arguments.suffix or ([""] if arguments.prompt is not None else QUESTION_SUFFIXES if instruct else STORY_SUFFIXES)
    stop_ids = stop_tokens(model, arguments.ignore_eos)

    prefix_ids = tokenizer(prompt).input_ids
    start = time.perf_counter()
    held = DynamicCache(config=model.config)
    read(model, prefix_ids, held)
    prefill_seconds = time.perf_counter() - start

    path = os.path.join(tempfile.mkdtemp(), "prefix.pt")
    start = time.perf_counter()
    save(held, prefix_ids, path)
    save_seconds, state_bytes = time.perf_counter() - start, os.path.getsize(path)
    start = time.perf_counter()
    prefix_ids, held = restore(path, model.config)
    restore_seconds = time.perf_counter() - start
    os.remove(path)
    os.rmdir(os.path.dirname(path))

    sequences = []
    for index, suffix in enumerate(suffixes):
        ids = tokenizer(prompt + suffix).input_ids
        cache, reused = fork(held, prefix_ids, ids)
        new_ids, first, total = generate(model, ids, cache, arguments.max_new_tokens, stop_ids)
        fresh_ids, fresh_first, fresh_total = generate(model, ids, DynamicCache(config=model.config), arguments.max_new_tokens, stop_ids)
        sequences.append({
            "index": index,
            "suffix": suffix,
            "prompt_ids": ids,
            "ids": new_ids,
            "text": tokenizer.decode(new_ids, skip_special_tokens=True),
            "finish_reason": "eos" if new_ids[-1] in stop_ids else "length",
            "same_as_recompute": new_ids == fresh_ids,
            "usage": {"prompt_tokens": len(ids), "reused_tokens": reused, "computed_tokens": len(ids) - reused, "generated_tokens": len(new_ids)},
            "timings": {"time_to_first_token_seconds": first, "total_seconds": total, "recompute_time_to_first_token_seconds": fresh_first, "recompute_total_seconds": fresh_total},
        })

    return {
        "model": arguments.model,
        "dtype": str(model.dtype).removeprefix("torch."),
        "prompt": prompt,
        "prefix_ids": prefix_ids,
        "state_bytes": state_bytes,
        "timings": {"load_seconds": load_seconds, "prefill_seconds": prefill_seconds, "save_seconds": save_seconds, "restore_seconds": restore_seconds},
        "sequences": sequences,
    }


def show(result):
    timings = result["timings"]
    print(f"{result['model']} ({result['dtype']}), loaded in {timings['load_seconds']:.2f} s")
    print(f"prompt: {len(result['prefix_ids'])} tokens, read in {timings['prefill_seconds']:.3f} s: {result['prompt']!r}")
    print(f"state: {result['state_bytes']} bytes, saved in {timings['save_seconds']:.3f} s, restored in {timings['restore_seconds']:.3f} s")
    for sequence in result["sequences"]:
        usage, timings = sequence["usage"], sequence["timings"]
        print()
        print(f"suffix {sequence['suffix']!r}: {usage['reused_tokens']} tokens reused, {usage['computed_tokens']} computed")
        print(f"  ids:  {sequence['ids']}")
        print(f"  text: {sequence['text']!r}")
        print(
            f"  first token after {timings['time_to_first_token_seconds']:.3f} s, recomputed {timings['recompute_time_to_first_token_seconds']:.3f} s; "
            f"{'the same ids' if sequence['same_as_recompute'] else 'OTHER IDS'} as a full recompute"
        )


def main():
    arguments = parse_arguments()
    if torch is None:
        sys.exit("reference.py: transformers 5 and torch are not installed: pip install transformers torch")
    with torch.inference_mode():
        result = run(arguments)
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        show(result)
    return 0 if all(sequence["same_as_recompute"] for sequence in result["sequences"]) else 1


if __name__ == "__main__":
    sys.exit(main())
