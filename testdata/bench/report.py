"""Tables, plots and the check of what bench.py has measured."""

import json
import os
import pathlib
import platform
import statistics

GREY, BLUE = "#9aa5b1", "#1f6feb"
LIMITS = pathlib.Path(__file__).with_name("limits.json")
OURS = ("jubako", "jubako-nostatic", "jubako-venv")


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) / 1e6
    return f"{os.cpu_count()} processors ({model}), {memory:.0f} GB, Linux {platform.release()}"


class Row:
    """The medians of a contender's counted runs. Memory is the warm-up's, the one run that was watched."""

    def __init__(self, runs):
        counted = runs[1:] or runs  # RUNS=0: the warm-up is all there is
        for key in ("wall", "cpu", "up", "down", "index", "requests", "rounds"):
            setattr(self, key, statistics.median(r[key] for r in counted))
        self.low, self.high = min(r["wall"] for r in counted), max(r["wall"] for r in counted)
        self.peak = runs[0]["peak"]


def bytes_(n):
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"


def seconds(s):
    return f"{s:.1f} s" if s >= 10 else f"{s:.2f} s" if s >= 0.1 else f"{s * 1000:.0f} ms"


def table(result, scenario):
    """One scenario's rows, the fastest first."""
    rows = {name: Row(runs) for name, runs in result["rows"].get(scenario, {}).items() if runs}
    ours = rows.get("jubako-venv" if scenario == "venv" else "jubako")
    venv = scenario == "venv"
    head = ["", "wall, median (range)", "times jubako's", "processor time", "peak memory"] + ([] if venv else ["pushed", "pulled", "wheels downloaded", "requests (in series)"])
    lines = [f"### {result['scenarios'][scenario][0].upper()}{result['scenarios'][scenario][1:]}", "", "| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for name, r in sorted(rows.items(), key=lambda kv: kv[1].wall):
        title = f"**{result['titles'][name]}**" if name in OURS else result["titles"][name]
        cells = [title, f"{seconds(r.wall)} ({seconds(r.low)}–{seconds(r.high)})", f"{r.wall / ours.wall:.1f}" if ours else "–", seconds(r.cpu), f"{r.peak / 1e6:.0f} MB"]
        if not venv:
            cells += [bytes_(r.up), bytes_(r.down), bytes_(r.index), f"{r.requests:.0f} ({r.rounds:.0f})"]
        lines.append("| " + " | ".join(cells) + " |")
    for name in result["titles"]:
        if why := result["failures"].get(f"{scenario} {name}"):
            lines.append(f"| {result['titles'][name]} | failed: {why.splitlines()[-1][:100]} |" + " |" * (len(head) - 2))
    return lines + [""]


def targets(result):
    """Issue 6's limits, each with what this run says of it: (text, wanted, measured, met)."""
    rows = {s: {n: Row(r) for n, r in by.items() if r} for s, by in result["rows"].items()}
    floor = result["floor"][max(result["floor"], key=int)]["seconds"]
    found = []

    def add(text, wanted, measured, met):
        found.append((text, wanted, measured, met))

    def faster(scenario, text, factor, *than):
        us = rows.get(scenario, {}).get("jubako-venv" if scenario == "venv" else "jubako")
        peers = {n: r for n, r in rows.get(scenario, {}).items() if n in than} if than else {n: r for n, r in rows.get(scenario, {}).items() if n not in (*OURS, "pyoci")}
        if us and peers:
            best = min(peers, key=lambda n: peers[n].wall)
            ratio = peers[best].wall / us.wall
            add(f"{text} ({result['titles'][best]})", f"≥ {factor} ×", f"{ratio:.1f} ×", ratio >= factor)

    if us := rows.get("venv", {}).get("jubako-venv"):
        add("environment's layers over the floor on all processors", "≤ 1.3 ×", f"{us.wall / floor:.2f} ×", us.wall <= 1.3 * floor)
    faster("venv", "environment's layers", 5, "venv-gzip")
    faster("venv", "environment's layers", 3, "venv-pigz")
    faster("cold", "cold: faster than the best peer", 8)
    faster("nothing", "nothing changed: faster than BuildKit", 5, "buildkit", "buildkit-tuned")
    if us := rows.get("nothing", {}).get("jubako"):
        add("nothing changed: requests in series, two for the tag and one for the base", "≤ 3", f"{us.rounds:.0f}", us.rounds <= 3)
        moved = max(sum("/blobs/" in line and line.split()[0] in ("GET", "PUT", "PATCH") for line in r["log"]) for r in result["rows"]["nothing"]["jubako"])
        add("nothing changed: blobs moved", "0", str(moved), moved == 0)
    faster("view", "a view's line: faster than the tuned BuildKit", 20, "buildkit-tuned")
    faster("bump", "a dependency bumped: faster than the tuned BuildKit", 6, "buildkit-tuned")
    if us := rows.get("bump", {}).get("jubako"):
        add("a dependency bumped: bytes pushed over the changed wheel's", "≤ 2 ×", f"{us.up / us.index:.2f} ×" if us.index else "–", bool(us.index) and us.up <= 2 * us.index)
    faster("fresh", "fresh machine: faster than the best peer", 30)
    if us := rows.get("fresh", {}).get("jubako"):
        add("fresh machine: pulled", "≤ 40 kB", bytes_(us.down), us.down <= 40e3)
    peaks = [r.peak for by in rows.values() for n, r in by.items() if n in OURS]
    if peaks:
        add("peak memory, the largest of all rows", "≤ 100 MB", f"{max(peaks) / 1e6:.0f} MB", max(peaks) <= 100e6)
    return found


def markdown(result):
    floor = result["floor"]
    any_floor = next(iter(floor.values()))
    lines = [
        f"Measured {result['date']} on {result['machine']}; medians of {result['runs']} runs after a warm-up, the contenders in turn; load average at the end {result['load']:.1f}.",
        f"The project: {any_floor['wheels']} wheels, {any_floor['compressed'] / 1e6:.0f} MB, {any_floor['unpacked'] / 1e6:.0f} MB unpacked. Its floor (inflate once, hash twice): "
        + ", ".join(f"{v['seconds']:.2f} s on {k} processor{'s' if int(k) > 1 else ''}" for k, v in floor.items()) + ".", "",
        "| limit | wanted | measured | |", "| --- | ---: | ---: | --- |",
        *(f"| {t} | {w} | {m} | {'met' if ok else '**missed**'} |" for t, w, m, ok in targets(result)), "",
    ]
    for scenario in result["scenarios"]:
        if result["rows"].get(scenario):
            lines += table(result, scenario)
    lines += ["| versions | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in result["versions"].items()), ""]
    left_out = [(k, v) for k, v in result["failures"].items() if " " not in k]
    lines += [f"Left out: {k}: {v.splitlines()[0]}" for k, v in left_out]
    return "\n".join(lines).rstrip() + "\n"


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("`", "")


def plot(result, value, title, label, skip=()):
    """Horizontal bars, a panel for each scenario, each panel with a scale of its own."""
    width, left, bar, gap = 900, 300, 16, 5
    parts, y = [], 46
    for scenario, text in result["scenarios"].items():
        rows = {n: value(Row(r)) for n, r in result["rows"].get(scenario, {}).items() if r}
        if scenario in skip or not rows:
            continue
        parts.append(f'<text x="12" y="{y + 12}" class="h">{escape(text)}</text>')
        y += 22
        most = max(rows.values()) or 1
        for name, v in sorted(rows.items(), key=lambda kv: kv[1]):
            length = max(1.0, (width - left - 110) * v / most)
            parts.append(f'<text x="{left - 8}" y="{y + 12}" class="n">{escape(result["titles"][name])}</text>'
                         f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{BLUE if name in OURS else GREY}"/>'
                         f'<text x="{left + length + 6:.1f}" y="{y + 12}">{escape(label(v))}</text>')
            y += bar + gap
        y += 16
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" font-family="sans-serif" font-size="12">\n'
            "<style>text{fill:#24292f}.h{font-weight:bold}.n{text-anchor:end}</style>\n"
            f'<rect width="{width}" height="{y}" fill="#fff"/>\n<text x="12" y="24" font-size="16" class="h">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n")


def ratios(result):
    """What the check looks at: jubako's medians over the floor on all processors, and counts that no clock decides."""
    floor = result["floor"][max(result["floor"], key=int)]["seconds"]
    found = {}
    for scenario, by in result["rows"].items():
        for name in ("jubako", "jubako-nostatic", "jubako-venv"):
            if by.get(name):
                r = Row(by[name])
                found[f"{scenario} {name} time"] = r.wall / floor
                found[f"{scenario} {name} requests"] = r.requests
                found[f"{scenario} {name} peak over the wheels"] = r.peak / next(iter(result["floor"].values()))["compressed"]
    return found


def check(result):
    """Holds the ratios against limits.json, and says which have grown too far. Gives the exit status."""
    limits = json.loads(LIMITS.read_text())["large" if result["large"] else "usual"]
    status = 0
    for name, now in sorted(ratios(result).items()):
        if name in limits:
            good = now <= limits[name]
            status |= not good
            print(f"{'ok  ' if good else 'OVER'} {name}: {now:.3g}, at most {limits[name]:.3g}")
        else:
            print(f"     {name}: {now:.3g}, no limit")
    for who, why in result["failures"].items():
        status = 1
        print(f"OVER {who}: {why}")
    return status


def set_limits(result):
    """Makes this run the measure: times and memory may grow by half, requests not at all."""
    limits = json.loads(LIMITS.read_text())
    which = limits["large" if result["large"] else "usual"]
    which |= {name: round(v if name.endswith("requests") else 1.5 * v, 3) for name, v in ratios(result).items()}
    LIMITS.write_text(json.dumps(limits, indent=2, sort_keys=True) + "\n")
    return 0


def write(result, out, checked):
    """Writes all of it into a folder, fills BENCHMARKS.md where that is its folder, and gives the exit status. checked: "1" or "set"."""
    out = pathlib.Path(out)
    name = "large" if result["large"] else "usual"
    text = markdown(result)
    published = out.resolve() == pathlib.Path(__file__).with_name("results")
    # The requests one by one help to understand a run; what is published does without them.
    rows = {s: {n: [{k: v for k, v in r.items() if k != "log"} for r in runs] for n, runs in by.items()} for s, by in result["rows"].items()}
    (out / f"{name}.json").write_text(json.dumps(result | {"rows": rows} if published else result, indent=1, default=str) + "\n")
    (out / f"{name}.md").write_text(text)
    (out / f"{name}-time.svg").write_text(plot(result, lambda r: r.wall, "Wall time, median", seconds))
    (out / f"{name}-memory.svg").write_text(plot(result, lambda r: r.peak, "Peak memory of all processes", lambda v: f"{v / 1e6:.0f} MB"))
    (out / f"{name}-moved.svg").write_text(plot(result, lambda r: r.up + r.down, "Bytes between builder and registry", bytes_, skip=("venv",)))
    if published:
        page = pathlib.Path(__file__).with_name("BENCHMARKS.md")
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, _, rest = page.read_text().partition(begin)
        _, _, after = rest.partition(end)
        plots = "".join(f"![{what}](results/{name}-{what}.svg)\n" for what in ("time", "moved", "memory"))
        page.write_text(before + begin + "\n\n" + text + "\n" + plots + end + after)
    print("\n" + text + f"\nwritten to {out}")
    return {"1": check, "set": set_limits}[checked](result) if checked else 0
