"""Tables, plots and the check of what bench.py has measured."""

import json
import os
import pathlib
import platform
import statistics

GREY, BLUE = "#9aa5b1", "#1f6feb"
LIMITS = pathlib.Path(__file__).with_name("limits.json")
OURS = ("jubako", "jubako-nostatic", "jubako-venv")
SCENARIOS = {  # in the order of the tables, which is that in which they are measured
    "venv": "the environment's layers made anew, downloads at hand",
    "nothing": "nothing changed",
    "view": "one line of a view changed",
    "setting": "one setting changed",
    "bump": "one dependency bumped (Django 5.2.n to 5.2.n+1)",
    "cold": "cold, downloads at hand",
    "fresh": "a fresh machine, one line of a view changed; the registry holds the last image; 20 ms, 100 Mbit/s",
    "base": "the base updated: a new digest, one of its layers changed",
    "services_cold": "a monorepo: all of its services, which have one lock, one after another, downloads at hand",
    "services_one": "a monorepo: one line of one of its services changed, all of them built",
}


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
        each = [r["each"] for r in counted if "each" in r]  # of a row of several builds
        self.first = statistics.median(e[0] for e in each) if each else None
        self.further = statistics.median(s for e in each for s in e[1:]) if each else None


def bytes_(n):
    return f"{n / 1e6:.1f} MB" if n >= 1e6 else f"{n / 1e3:.1f} kB"


def seconds(s):
    return f"{s:.1f} s" if s >= 10 else f"{s:.2f} s" if s >= 0.1 else f"{s * 1000:.0f} ms"


def floor_of(row):
    """Seconds, on all processors."""
    return row["floor"][max(row["floor"], key=int)]["seconds"]


def versions(rows):
    """What was measured, and where rows are of several versions, which."""
    found = {}
    for scenario, row in rows.items():
        for title, about in row["versions"].items():
            found.setdefault(title, {}).setdefault(about, []).append(scenario)
    return [(title, "; ".join(f"{about} ({', '.join(of)})" for about, of in by.items()) if len(by) > 1 else next(iter(by))) for title, by in found.items()]


def cause(why):
    """The end of what a command said when it failed, without the paths before it."""
    return why.splitlines()[-1].rpartition(": ")[2][:100]


def table(scenario, row):
    """One scenario's contenders, the fastest first, and when it was."""
    rows = {name: Row(runs) for name, runs in row["of"].items() if runs}
    ours = rows.get("jubako-venv" if scenario == "venv" else "jubako")
    venv = scenario == "venv"
    head = ["", "wall, median (range)", "times jubako's", "processor time", "peak memory"] + ([] if venv else ["pushed", "pulled", "wheels downloaded", "requests (in series)"])
    several = row.get("services")
    if several:
        head[2:2] = ["the first", "each further, median"]
    floors = ", ".join(f"{v['seconds']:.2f} s on {k} processor{'s' if int(k) > 1 else ''}" for k, v in row["floor"].items())
    if row.get("own"):
        floors += f", and {row['own']:.2f} s on all of them with jubako's own decoder"
    text = SCENARIOS[scenario]
    lines = [f"### {text[0].upper()}{text[1:]}", "",
             f"{f'{several} services; ' if several else ''}{row['date']}, medians of {row['runs']} runs after a warm-up; the floor then {floors}; load average at the end {row['load']:.1f}.", "",
             "| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for name, r in sorted(rows.items(), key=lambda kv: kv[1].wall):
        title = f"**{row['titles'][name]}**" if name in OURS else row["titles"][name]
        cells = [title, f"{seconds(r.wall)} ({seconds(r.low)}–{seconds(r.high)})", f"{r.wall / ours.wall:.1f}" if ours else "–", seconds(r.cpu), f"{r.peak / 1e6:.0f} MB"]
        if several:
            cells[2:2] = [seconds(r.first), seconds(r.further)]
        if not venv:
            cells += [bytes_(r.up), bytes_(r.down), bytes_(r.index), f"{r.requests:.0f} ({r.rounds:.0f})"]
        lines.append("| " + " | ".join(cells) + " |")
    for name, why in row["failures"].items():
        counted = len(row["of"].get(name, [])) - 1
        lines.append(f"| {row['titles'].get(name, name)} | failed{f' after {counted} of them' if counted > 0 else ''}: {cause(why)} |" + " |" * (len(head) - 2))
    return lines + [""]


def targets(measured):
    """The limits that we have set ourselves, each with what the rows say of it: (text, wanted, measured, met)."""
    rows = {s: {n: Row(r) for n, r in row["of"].items() if r} for s, row in measured.items()}
    found = []

    def add(text, wanted, measured, met):
        found.append((text, wanted, measured, met))

    def faster(scenario, text, factor, *than):
        us = rows.get(scenario, {}).get("jubako-venv" if scenario == "venv" else "jubako")
        peers = {n: r for n, r in rows.get(scenario, {}).items() if n in than} if than else {n: r for n, r in rows.get(scenario, {}).items() if n not in (*OURS, "pyoci")}
        if us and peers:
            best = min(peers, key=lambda n: peers[n].wall)
            ratio = peers[best].wall / us.wall
            add(f"{text} ({measured[scenario]['titles'][best]})", f"≥ {factor} ×", f"{ratio:.1f} ×", ratio >= factor)

    if us := rows.get("venv", {}).get("jubako-venv"):
        floor = floor_of(measured["venv"])
        add("environment's layers over the floor on all processors", "≤ 1.3 ×", f"{us.wall / floor:.2f} ×", us.wall <= 1.3 * floor)
    faster("venv", "environment's layers", 5, "venv-gzip")
    faster("venv", "environment's layers", 3, "venv-pigz")
    faster("cold", "cold: faster than the best peer", 8)
    faster("nothing", "nothing changed: faster than BuildKit", 5, "buildkit", "buildkit-tuned")
    if us := rows.get("nothing", {}).get("jubako"):
        add("nothing changed: requests in series, two for the tag and one for the base", "≤ 3", f"{us.rounds:.0f}", us.rounds <= 3)
        moved = max(r["blobs"] for r in measured["nothing"]["of"]["jubako"])
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


def markdown(rows):
    machines = list(dict.fromkeys(row["machine"] for row in rows.values()))
    floor = next(iter(next(iter(rows.values()))["floor"].values()))
    lines = [
        f"Measured on {'; '.join(machines)}. Each table is one run, the contenders in turn.",
        f"The project: {floor['wheels']} wheels, {floor['compressed'] / 1e6:.0f} MB, {floor['unpacked'] / 1e6:.0f} MB unpacked. The floor is what it costs to inflate them once, with the fastest of Go's libraries, and to hash twice.", "",
        "| limit | wanted | measured | |", "| --- | ---: | ---: | --- |",
        *(f"| {t} | {w} | {m} | {'met' if ok else '**missed**'} |" for t, w, m, ok in targets(rows)), "",
    ]
    for scenario, row in rows.items():
        lines += table(scenario, row)
    lines += ["| versions | |", "| --- | --- |", *(f"| {k} | {v} |" for k, v in versions(rows))]
    return "\n".join(lines).rstrip() + "\n"


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("`", "")


def plot(rows, value, title, label, skip=()):
    """Horizontal bars, a panel for each scenario, each panel with a scale of its own."""
    width, left, bar, gap = 900, 300, 16, 5
    parts, y = [], 46
    for scenario, row in rows.items():
        bars = {n: value(Row(r)) for n, r in row["of"].items() if r}
        if scenario in skip or not bars:
            continue
        parts.append(f'<text x="12" y="{y + 12}" class="h">{escape(SCENARIOS[scenario])}</text>')
        y += 22
        most = max(bars.values()) or 1
        for name, v in sorted(bars.items(), key=lambda kv: kv[1]):
            length = max(1.0, (width - left - 110) * v / most)
            parts.append(f'<text x="{left - 8}" y="{y + 12}" class="n">{escape(row["titles"][name])}</text>'
                         f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{BLUE if name in OURS else GREY}"/>'
                         f'<text x="{left + length + 6:.1f}" y="{y + 12}">{escape(label(v))}</text>')
            y += bar + gap
        y += 16
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" font-family="sans-serif" font-size="12">\n'
            "<style>text{fill:#24292f}.h{font-weight:bold}.n{text-anchor:end}</style>\n"
            f'<rect width="{width}" height="{y}" fill="#fff"/>\n<text x="12" y="24" font-size="16" class="h">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n")


def ratios(rows):
    """What the check looks at: jubako's medians over the floor on all processors, and counts that no clock decides."""
    found = {}
    for scenario, row in rows.items():
        for name in OURS:
            if row["of"].get(name):
                r = Row(row["of"][name])
                found[f"{scenario} {name} time"] = r.wall / floor_of(row)
                found[f"{scenario} {name} requests"] = r.requests
                found[f"{scenario} {name} peak over the wheels"] = r.peak / next(iter(row["floor"].values()))["compressed"]
    return found


class Results:
    """Where the rows of a run go as they come: a folder and, where that is this one's results, BENCHMARKS.md. There a row that is measured
    takes the place of the one that was published before, and others stay: all of them take hours."""

    def __init__(self, out, large):
        self.out, self.name = pathlib.Path(out), "large" if large else "usual"
        self.published = self.out.resolve() == pathlib.Path(__file__).with_name("results")
        self.new = {}

    def add(self, scenario, row):
        """Writes all that there is, this row with it."""
        if self.published:  # the requests one by one, and all that a failed command said, help to understand a run; what is published does without them
            row = row | {"of": {name: [{k: v for k, v in r.items() if k != "log"} for r in runs] for name, runs in row["of"].items()},
                         "failures": {name: cause(why) for name, why in row["failures"].items()}}
        self.new[scenario] = row
        kept = self.out / f"{self.name}.json"
        rows = (json.loads(kept.read_text()) if self.published and kept.exists() else {}) | self.new
        rows = {s: rows[s] for s in sorted(rows, key=list(SCENARIOS).index)}
        text = markdown(rows)
        kept.write_text(json.dumps(rows, indent=1, default=str) + "\n")
        (self.out / f"{self.name}.md").write_text(text)
        (self.out / f"{self.name}-time.svg").write_text(plot(rows, lambda r: r.wall, "Wall time, median", seconds))
        (self.out / f"{self.name}-memory.svg").write_text(plot(rows, lambda r: r.peak, "Peak memory of all processes", lambda v: f"{v / 1e6:.0f} MB"))
        plots = ["time", "memory"]
        if set(rows) - {"venv"}:
            plots.append("moved")
            (self.out / f"{self.name}-moved.svg").write_text(plot(rows, lambda r: r.up + r.down, "Bytes between builder and registry", bytes_, skip=("venv",)))
        if self.published:
            page = pathlib.Path(__file__).with_name("BENCHMARKS.md")
            begin, end = f"<!-- {self.name}: begin -->", f"<!-- {self.name}: end -->"
            before, _, rest = page.read_text().partition(begin)
            _, _, after = rest.partition(end)
            shown = "".join(f"![{what}](results/{self.name}-{what}.svg)\n" for what in plots)
            page.write_text(before + begin + "\n\n" + text + "\n" + shown + end + after)

    def finish(self, checked):
        """Prints this run's rows and gives the exit status. checked: "1" to hold them against limits.json, "set" to make them the measure."""
        if not self.new:
            print("bench: nothing was measured")
            return 1
        print("\n" + markdown(self.new) + f"\nwritten to {self.out}")
        return {"1": self.check, "set": self.set_limits}[checked]() if checked else 0

    def check(self):
        """Holds the ratios against limits.json, and says which have grown too far. Gives the exit status."""
        limits = json.loads(LIMITS.read_text())[self.name]
        status = 0
        for name, now in sorted(ratios(self.new).items()):
            if name in limits:
                good = now <= limits[name]
                status |= not good
                print(f"{'ok  ' if good else 'OVER'} {name}: {now:.3g}, at most {limits[name]:.3g}")
            else:
                print(f"     {name}: {now:.3g}, no limit")
        for scenario, row in self.new.items():
            for who, why in row["failures"].items():
                status = 1
                print(f"OVER {scenario} {who}: {why}")
        return status

    def set_limits(self):
        """Makes this run the measure: times and memory may grow by half, requests not at all."""
        limits = json.loads(LIMITS.read_text())
        limits[self.name] |= {name: round(v if name.endswith("requests") else 1.5 * v, 3) for name, v in ratios(self.new).items()}
        LIMITS.write_text(json.dumps(limits, indent=2, sort_keys=True) + "\n")
        return 0
