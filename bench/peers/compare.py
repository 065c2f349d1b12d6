#!/usr/bin/env python3
"""Quern beside its peers, in one run: medians of interleaved rounds, and ratios.

    bench/peers/setup.sh ~/peers
    bench/peers/compare.py --quern build/release/quern --llama ~/peers/llama_driver \\
        --ik ~/ik_llama.cpp/build/bin/llama-bench MODEL.gguf...

Every round runs every engine once on every model, one after the other, so that whatever the machine
does in the meantime meets all of them. A round measures prefill and decode with 2 threads (-t).
Prints a Markdown table; --json FILE keeps every sample.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time


def busy_share(seconds=2.0):
    """Share of all processors that was busy."""
    def read():
        fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return sum(fields), fields[3] + fields[4]
    total, idle = read()
    time.sleep(seconds)
    later, later_idle = read()
    return 1 - (later_idle - idle) / (later - total)


def run(command):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{result.stderr}")
    return result.stdout


class Quern:
    name = "quern"

    def __init__(self, program):
        self.program = program

    def measure(self, model, options):
        data = json.loads(run([self.program, "bench", model, "-p", str(options.prefill), "-n",
                               str(options.decode), "-d", str(options.depth), "--threads",
                               str(options.threads), "-r", "1", "--json"]))
        figures = {}
        for result in data["results"]:
            if result["test"] == "prefill":
                figures["prefill"] = result["tokens_per_second"]["median"]
            if result["test"] == "decode":
                figures["decode"] = result["tokens_per_second"]["median"]
                figures["bytes"] = result["work"]["bytes"] / options.decode
        figures["bandwidth"] = max(r["read_bandwidth"] for r in data["rooflines"])
        figures["int8_peak"] = max(r["int8_peak"] for r in data["rooflines"])
        return figures


class Ik:
    """llama-bench of ik_llama.cpp."""

    def __init__(self, program, repack):
        self.program, self.repack = program, repack
        self.name = "ik -rtr 1" if repack else "ik"

    def measure(self, model, options):
        command = [self.program, "-m", model, "-t", str(options.threads), "-r", "1", "-o", "json",
                   "-rtr", str(int(self.repack)), "-p", str(options.prefill)]
        if options.depth:
            command += ["-n", "0", "-gp", f"{options.depth},{options.decode}"]
        else:
            command += ["-n", str(options.decode)]
        results = json.loads(run(command))
        figures = {}
        for result in results:
            kind = "prefill" if result["n_gen"] == 0 else "decode"
            figures[kind] = result["avg_ts"]
        return figures


class Llama:
    name = "llama.cpp"

    def __init__(self, program):
        self.program = program

    def measure(self, model, options):
        def call(prefill, decode):
            return json.loads(run([self.program, model, str(prefill), str(decode),
                                   str(options.threads)]))
        if not options.depth:
            return call(options.prefill, options.decode)
        return {"prefill": call(options.prefill, 1)["prefill"],
                "decode": call(options.depth, options.decode)["decode"]}


def spread(samples):
    middle = statistics.median(samples)
    return f"{middle:.1f} ± {(max(samples) - min(samples)) / 2:.1f}"


def table(samples, engines, kind):
    """One row per model: every engine's median and half range, and Quern's ratio to it."""
    others = [e.name for e in engines if e.name != "quern"]
    lines = [f"| {kind} | quern | " + " | ".join(f"{o} | ratio" for o in others) + " | of roofline |",
             "|---" * (len(others) * 2 + 3) + "|"]
    for model, by_engine in samples.items():
        mine = [s[kind] for s in by_engine["quern"]]
        cells = [pathlib.Path(model).stem, spread(mine)]
        for other in others:
            theirs = [s[kind] for s in by_engine[other]]
            # Round by round: what the machine did in a round is in both figures.
            ratios = [a / b for a, b in zip(mine, theirs)]
            cells += [spread(theirs), f"{statistics.median(ratios):.2f}"]
        cells.append(roofline(by_engine, kind))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def roofline(by_engine, kind):
    """Decode: share of the larger of the probe and the best rate that any engine reached."""
    if kind != "decode":
        return ""
    weights = statistics.median(s["bytes"] for s in by_engine["quern"])
    probe = statistics.median(s["bandwidth"] for s in by_engine["quern"])
    best = max(statistics.median(s["decode"] for s in runs) for runs in by_engine.values()) * weights
    mine = statistics.median(s["decode"] for s in by_engine["quern"]) * weights
    return f"{mine / 1e9:.1f} of {max(probe, best) / 1e9:.1f} GB/s, {mine / max(probe, best):.0%}"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--quern", required=True, help="the quern program")
    parser.add_argument("--ik", help="llama-bench of ik_llama.cpp")
    parser.add_argument("--llama", help="llama_driver, made by setup.sh")
    parser.add_argument("-p", "--prefill", type=int, default=512)
    parser.add_argument("-n", "--decode", type=int, default=64)
    parser.add_argument("-d", "--depth", type=int, default=0, help="tokens before the decoded ones")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for all samples")
    parser.add_argument("--anyway", action="store_true", help="measure on a busy machine")
    options = parser.parse_args()

    engines = [Quern(options.quern)]
    if options.ik:
        engines += [Ik(options.ik, False), Ik(options.ik, True)]
    if options.llama:
        engines.append(Llama(options.llama))
    busy = busy_share()
    if busy > 0.05 and not options.anyway:
        sys.exit(f"the machine is {busy:.0%} busy: stop what runs, or measure --anyway")

    samples = {model: {engine.name: [] for engine in engines} for model in options.models}
    for index in range(options.rounds):
        for model in options.models:
            for engine in engines:
                samples[model][engine.name].append(engine.measure(model, options))
                print(f"round {index + 1}/{options.rounds} {pathlib.Path(model).stem} {engine.name}",
                      file=sys.stderr)
    if options.json:
        json.dump(samples, open(options.json, "w"), indent=1)
    for kind in ("prefill", "decode"):
        print(table(samples, engines, kind), end="\n\n")


if __name__ == "__main__":
    main()
