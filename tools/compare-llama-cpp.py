#!/usr/bin/env python3
"""PrefixTorch beside llama.cpp: both engines in turns on one machine, and the table of ratios.

    tools/compare-llama-cpp.py --ours "prefixtorch bench --model weights/random-1b" --theirs "./lcbench --model models/1b-bf16.gguf --threads 2"

Each command is a benchmark that prints JSON lines with the same fields (prefill, decode, ttft): ours is `prefixtorch bench --json`, theirs a
small program on llama.cpp's library. Machines are shared and noisy, so the two alternate, and a figure is the median of the ratios of neighbouring
rounds, not a ratio of medians taken minutes apart.
"""
import argparse
import json
import re
import shlex
import statistics
import subprocess
import sys


def seconds(value):
    """A time is a number, or an object with its median."""
    return value["median_s"] if isinstance(value, dict) else value


def figures(line):
    """The comparable figures of one line: name -> (value, whether more is better)."""
    kind = line.get("bench")
    if kind == "prefill":
        yield f"prefill {line['n']}, tokens/s", line["median_tps"], True
    elif kind == "decode":
        yield f"decode at {line['ctx']}, tokens/s", line["median_tps"], True
    elif kind == "ttft":
        memory = line.get("memory_prefix_s", line.get("memory_prefix"))
        if memory is not None:
            yield f"first token after a held prefix of {line.get('prefix', '')} + {line.get('suffix', '')}, s", seconds(memory), False


def run(command, extra):
    """One round: its figures by name."""
    result = subprocess.run(shlex.split(command) + extra, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(f"{command} ended with {result.returncode}: {result.stderr.strip().splitlines()[-1:]}")
    found = {}
    for text in result.stdout.splitlines():
        if text.startswith("{"):
            # C++ prints what is no number, of a measure that could not be taken, as JSON has no word for.
            line = json.loads(re.sub(r"(?<=:)-?(nan|inf)\b", "null", text))
            for name, value, more_is_better in figures(line):
                found[name] = (value, more_is_better)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True, help="our benchmark's command, without sizes")
    parser.add_argument("--theirs", required=True, help="the other benchmark's command, without sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pp", default="512")
    parser.add_argument("--tgat", default="16,2048")
    parser.add_argument("--tg", default="32")
    parser.add_argument("--prefix", default="2048")
    parser.add_argument("--suffix", default="16")
    args = parser.parse_args()
    sizes = ["--pp", args.pp, "--tgat", args.tgat, "--tg", args.tg, "--prefix", args.prefix, "--suffix", args.suffix, "--save", "none", "--reps", "1"]
    rounds = []
    for number in range(args.rounds):
        ours = run(args.ours, sizes + ["--json"])
        theirs = run(args.theirs, sizes + ["--maxreps", "1", "--quietwait", "0"])
        rounds.append((ours, theirs))
        print(f"round {number + 1} of {args.rounds} done", file=sys.stderr)

    names = [name for name in rounds[0][0] if all(name in ours and name in theirs for ours, theirs in rounds)]
    print(f"{'figure':56} {'ours':>10} {'theirs':>10} {'ratio':>7}   (of each round)")
    for name in names:
        pairs = [(ours[name][0], theirs[name][0]) for ours, theirs in rounds]
        more_is_better = rounds[0][0][name][1]
        ratios = [a / b if more_is_better else b / a for a, b in pairs]
        print(f"{name:56} {statistics.median(a for a, _ in pairs):10.2f} {statistics.median(b for _, b in pairs):10.2f} {statistics.median(ratios):7.2f}   "
              + " ".join(f"{ratio:.2f}" for ratio in ratios))


if __name__ == "__main__":
    main()
