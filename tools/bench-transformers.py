#!/usr/bin/env python3
"""transformers on what `prefixtorch bench` measures: JSON lines with the same fields, to stand beside ours. Needs transformers 5 and torch.

    python3 tools/bench-transformers.py --model weights/random-1b --device cuda
    prefixtorch bench --model weights/random-1b --device cuda --pp 512,2048 --tgat 16,2048 --save none --json
"""
import argparse
import copy
import json
import statistics
import sys
import time

try:
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache
except ImportError:
    torch = None  # --help needs neither

TOKENS = 48         # decoded at each context
SUFFIX = 16         # behind a held prefix
BRANCHES = 16
BRANCH_TOKENS = 32


class Bench:
    def __init__(self, path, device, dtype):
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).to(device).eval()
        self.device = device
        self.random = torch.Generator().manual_seed(3)

    def ids(self, rows, count):
        return torch.randint(3, self.model.config.vocab_size, (rows, count), generator=self.random).to(self.device)

    def cache(self):
        return DynamicCache(config=self.model.config)

    def read(self, ids, cache):
        """The next ids after what was read; the cache grows."""
        logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1].argmax(-1, keepdim=True)

    def now(self):
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    def times(self, reps, run):
        """Seconds of each run but the first, which warms up. A run may do what is not timed first: it gives the time at which it began."""
        found = []
        for _ in range(reps + 1):
            began = run()
            found.append(self.now() - began)
        return found[1:]

    def prefill(self, count):
        ids = self.ids(1, count)
        began = self.now()
        self.read(ids, self.cache()).tolist()
        return began

    def decode(self, context):
        cache = self.cache()
        token = self.read(self.ids(1, context), cache)
        began = self.now()
        for _ in range(TOKENS):
            token = self.read(torch.tensor(token.tolist(), device=self.device), cache)
        token.tolist()
        return began

    def suffix(self, held):
        ids, cache = self.ids(1, SUFFIX), copy.deepcopy(held)
        began = self.now()
        self.read(ids, cache).tolist()
        return began

    def branches(self, held):
        ids, cache = self.ids(BRANCHES, 1), copy.deepcopy(held)
        began = self.now()
        cache.batch_repeat_interleave(BRANCHES)
        for _ in range(BRANCH_TOKENS):
            ids = self.read(ids, cache)
        ids.tolist()
        return began


def numbers(text):
    return [] if text == "none" else [int(part) for part in text.split(",")]


def rate(line, count, seconds):
    each = sorted(count / second for second in seconds)
    print(json.dumps(line | {"median_tps": statistics.median(each), "min_tps": each[0], "max_tps": each[-1]}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--pp", default="512,2048")
    parser.add_argument("--tgat", default="16,2048")
    parser.add_argument("--prefix", type=int, default=2048)
    parser.add_argument("--reps", type=int, default=3)
    args = parser.parse_args()
    if torch is None:
        sys.exit("bench-transformers.py: transformers 5 and torch are not installed: pip install transformers torch")
    with torch.no_grad():
        bench = Bench(args.model, args.device, args.dtype)
        for count in numbers(args.pp):
            rate({"bench": "prefill", "n": count}, count, bench.times(args.reps, lambda: bench.prefill(count)))
        for context in numbers(args.tgat):
            rate({"bench": "decode", "ctx": context, "tokens": TOKENS}, TOKENS, bench.times(args.reps, lambda: bench.decode(context)))
        if args.prefix > 0:
            held = bench.cache()
            bench.read(bench.ids(1, args.prefix), held)
            print(json.dumps({"bench": "ttft", "prefix": args.prefix, "suffix": SUFFIX, "memory_prefix_s": statistics.median(bench.times(args.reps, lambda: bench.suffix(held)))}), flush=True)
            rate({"bench": "branches", "branches": BRANCHES, "prefix": args.prefix, "tokens": BRANCH_TOKENS}, BRANCHES * BRANCH_TOKENS, bench.times(args.reps, lambda: bench.branches(held)))


if __name__ == "__main__":
    main()
