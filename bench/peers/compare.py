#!/usr/bin/env python3
"""Quern beside its peers, in one run: medians of interleaved rounds, and ratios.

    bench/peers/setup.sh ~/peers
    bench/peers/compare.py --meter ~/peers/meter --quern build/release/quern \\
        --llama ~/peers/llama_driver --ik ~/ik_llama.cpp/build/bin/llama-bench MODEL.gguf...

Every round runs every engine once on every model, in turns, so that whatever the machine does in the
meantime meets all of them. A round measures prefill and decode with 2 threads (-t).

Decode reads memory, and on a shared machine memory is twice as fast in one second as in another. So a
meter reads memory before and after every run; a run between two that differ by more than --drift is
measured again, and ratios compare what each engine made of the memory that it had.
Prints a Markdown table; --json FILE keeps every sample.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

ATTEMPTS = 5  # at a run with steady memory


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


class Meter:
    """How fast memory can be read now (meter.cpp)."""

    def __init__(self, program, threads):
        self.process = subprocess.Popen([program, str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def bandwidth(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def around(self, measure, drift):
        """The figures of measure(), with the bandwidth around it, once that changed no more than by
        the share `drift` (None: any change will do)."""
        for _ in range(ATTEMPTS):
            before = self.bandwidth()
            figures = measure()
            after = self.bandwidth()
            figures["bandwidth"] = (before + after) / 2
            if drift is None or max(before, after) <= (1 + drift) * min(before, after):
                break
            print(f"memory went from {before / 1e9:.0f} to {after / 1e9:.0f} GB/s: again",
                  file=sys.stderr)
        return figures


class Quern:
    name = "quern"

    def __init__(self, program):
        self.program = program

    def run(self, model, options, prefill, decode):
        data = json.loads(run([self.program, "bench", model, "--profile", "quick", "-p",
                               str(prefill), "-n", str(decode), "-d", str(options.depth),
                               "--threads", str(options.threads), "-r", str(options.repetitions),
                               "--json"]))
        result = data["results"][0]
        return {"speed": result["tokens_per_second"]["median"],
                "bytes": result["work"]["bytes"] / result["tokens"],
                "int8_ops": result["work"]["int8_ops"] / result["tokens"],
                "int8_peak": max(r["int8_peak"] for r in data["rooflines"])}


class Ik:
    """llama-bench of ik_llama.cpp."""

    def __init__(self, program, repack):
        self.program, self.repack = program, repack
        self.name = "ik -rtr 1" if repack else "ik"

    def run(self, model, options, prefill, decode):
        command = [self.program, "-m", model, "-t", str(options.threads), "-r",
                   str(options.repetitions), "-o", "json", "-rtr", str(int(self.repack)),
                   "-p", str(prefill)]
        if decode and options.depth:
            command += ["-n", "0", "-gp", f"{options.depth},{decode}"]
        else:
            command += ["-n", str(decode)]
        return {"speed": statistics.median(json.loads(run(command))[0]["samples_ts"])}


class Llama:
    name = "llama.cpp"

    def __init__(self, program):
        self.program = program

    def run(self, model, options, prefill, decode):
        figures = json.loads(run([self.program, model, str(prefill or max(options.depth, 1)),
                                  str(decode), str(options.threads), str(options.repetitions)]))
        return {"speed": figures["decode" if decode else "prefill"]}


def spread(runs):
    speeds = [r["speed"] for r in runs]
    return f"{statistics.median(speeds):.1f} ± {(max(speeds) - min(speeds)) / 2:.1f}"


def share_of_memory(run, weights):
    """Share of what the meter read that the engine's reading of weights came to."""
    return run["speed"] * weights / run["bandwidth"]


def ratio(mine, theirs, kind):
    """Median over the rounds; decode in relation to the memory of its moment."""
    def figure(sample):
        return share_of_memory(sample, 1) if kind == "decode" else sample["speed"]
    return f"{statistics.median(figure(a) / figure(b) for a, b in zip(mine, theirs)):.2f}"


def roofline(by_engine, kind):
    """Decode: share of the larger of the meter's rate and the best that any engine reached.
    Prefill: Quern's integer operations as a share of their peak."""
    mine = by_engine["quern"]
    if kind == "prefill":
        share = statistics.median(r["speed"] * r["int8_ops"] / r["int8_peak"] for r in mine)
        return f"{share:.0%}"
    weights = mine[0]["bytes"]
    shares = {name: statistics.median(share_of_memory(r, weights) for r in runs)
              for name, runs in by_engine.items()}
    return f"{shares['quern'] / max(1, *shares.values()):.0%} ({shares['quern']:.0%} of the meter)"


def table(samples, engines, kind):
    """One row per model: every engine's median and half range, and Quern's ratio to it."""
    others = [e.name for e in engines if e.name != "quern"]
    lines = [f"| {kind} | quern | " + " | ".join(f"{o} | ratio" for o in others) + " | of roofline |",
             "|---" * (len(others) * 2 + 3) + "|"]
    for model, kinds in samples.items():
        by_engine = kinds[kind]
        cells = [pathlib.Path(model).stem, spread(by_engine["quern"])]
        for other in others:
            cells += [spread(by_engine[other]), ratio(by_engine["quern"], by_engine[other], kind)]
        cells.append(roofline(by_engine, kind))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--quern", required=True, help="the quern program")
    parser.add_argument("--ik", help="llama-bench of ik_llama.cpp")
    parser.add_argument("--llama", help="llama_driver, made by setup.sh")
    parser.add_argument("-p", "--prefill", type=int, default=512)
    parser.add_argument("-n", "--decode", type=int, default=32)
    parser.add_argument("-d", "--depth", type=int, default=0, help="tokens before the decoded ones")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=3, help="within a run; its median counts")
    parser.add_argument("--meter", required=True, help="meter, made by setup.sh")
    parser.add_argument("--drift", type=float, default=0.2,
                        help="how much memory may change during a run of decoding")
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

    meter = Meter(options.meter, options.threads)
    kinds = {"prefill": (options.prefill, 0), "decode": (0, options.decode)}
    kinds = {kind: tokens for kind, tokens in kinds.items() if any(tokens)}
    samples = {model: {kind: {engine.name: [] for engine in engines} for kind in kinds}
               for model in options.models}
    for index in range(options.rounds):
        for model in options.models:
            for kind, tokens in kinds.items():
                for engine in engines[index % len(engines):] + engines[:index % len(engines)]:
                    figures = meter.around(lambda: engine.run(model, options, *tokens),
                                           options.drift if kind == "decode" else None)
                    samples[model][kind][engine.name].append(figures)
                    print(f"round {index + 1}/{options.rounds} {pathlib.Path(model).stem} {kind} "
                          f"{engine.name}: {figures['speed']:.1f}", file=sys.stderr)
    if options.json:
        json.dump(samples, open(options.json, "w"), indent=1)
    for kind in kinds:
        print(table(samples, engines, kind), end="\n\n")


if __name__ == "__main__":
    main()
