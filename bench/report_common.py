"""What the scripts that write figures into docs/ share: runs of `clq bench`, tables, a page's marked
part, and a plot of lines."""
import json
import math
import os
import subprocess
import sys

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs")
COLORS = ["#1f5fa8", "#7fb2e5", "#b3541e", "#eda35f", "#2e7d32", "#8ccf7e", "#6a3d9a", "#c2a5cf",
          "#777777"]


class Bench:
    """`clq bench`, and what its runs said of the machine."""

    def __init__(self, clq, reps):
        self.clq, self.reps, self.contexts = clq.split(), str(reps), []
        self.load = os.getloadavg()[0]
        if self.load > 0.5:
            print(f"the load average is {self.load:.1f}: these figures are worthless",
                  file=sys.stderr)

    def run(self, words):
        """Its records, all of them checked; the sentence that it failed with is raised."""
        line = [*self.clq, "bench", *words.split(), "--reps", self.reps, "-o", "json"]
        result = subprocess.run(line, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(line)}: {result.stderr.strip()}")
        answer = json.loads(result.stdout)
        self.contexts.append(answer["context"])
        for record in answer["benchmarks"]:
            if not record["checked"]:
                raise SystemExit(f"{record['name']} was not checked")
        return answer["benchmarks"]

    def limit(self, key):
        """Between which values a limit was in the runs: "read_bytes", "fp32_flops" a second."""
        values = [c[f"{key}_per_second"] / 1e9 for c in self.contexts if c[f"{key}_per_second"]]
        return f"{min(values):.0f}–{max(values):.0f}" if values else "unknown"

    def about(self):
        first = self.contexts[0]
        return (f"{first['date'][:10]}, revision {first['git_revision']} of clq "
                f"{first['clq_version']}, {first['device']} through {first['platform']} "
                f"{first['driver']}, {first['threads']} threads, {' '.join(first['cpu_features'])}; "
                f"medians of {self.reps}; load average before the run {self.load:.1f}.\n\n"
                f"Limits over all runs below: read {self.limit('read_bytes')} GB/s, copy "
                f"{self.limit('copy_bytes')} GB/s, fp32 {self.limit('fp32_flops')} GFLOP/s, int8 "
                f"{self.limit('int8_ops')} GOP/s.\n")


def row(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def head(cells, texts):
    """The first `texts` columns are words, the others numbers."""
    return row(cells) + "|---" * texts + "|--:" * (len(cells) - texts) + "|\n"


def figure(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def percent(share):
    return "–" if math.isnan(share) else f"{100 * share:.0f} %"


def replace_part(page, begin, end, text):
    """What stands between two markers of the page; the rest of it is written by hand."""
    with open(page, encoding="utf-8") as file:
        before, rest = file.read().split(begin)
    after = rest.split(end, 1)[1]
    with open(page, "w", encoding="utf-8") as file:
        file.write(before + begin + "\n" + text + "\n" + end + after)


def save(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def plot(title, below, lines, step, mark=None, unit=""):
    """An SVG of `lines`, {name: [(x, y)]}: x goes up by powers of two, y from 0 by `step`s. `mark`:
    (y, word) of a dashed line. NaN are left out."""
    left, top, width, height = 56, 40, 620, 320
    points = [p for line in lines.values() for p in line if not math.isnan(p[1])]
    low, high = (f(math.log2(x) for x, _ in points) for f in (min, max))
    most = math.ceil(max([y for _, y in points] + [mark[0] if mark else 0]) / step) * step

    def across(value):
        return left + width * (math.log2(value) - low) / max(high - low, 1)

    def up(value):
        return top + height * (1 - value / most)

    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 150} '
           f'{top + height + 56}" font-family="sans-serif" font-size="12" fill="#333">',
           '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text x="{left}" y="22" font-size="14">{title}</text>']
    for tick in range(round(most / step) + 1):
        at = up(tick * step)
        svg += [f'<path d="M{left} {at:.1f}h{width}" stroke="#ddd"/>',
                f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{tick * step:g}{unit}</text>']
    if mark:
        svg += [f'<path d="M{left} {up(mark[0]):.1f}h{width}" stroke="#888" stroke-dasharray="5 4"/>',
                f'<text x="{left + 4}" y="{up(mark[0]) - 4:.1f}" fill="#666" font-size="10">{mark[1]}'
                '</text>']
    for power in range(math.ceil(low), math.floor(high) + 1):
        svg += [f'<path d="M{across(2 ** power):.1f} {top + height}v5" stroke="#333"/>',
                f'<text x="{across(2 ** power):.1f}" y="{top + height + 20}" text-anchor="middle">'
                f'{2 ** power}</text>']
    svg.append(f'<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle">{below}'
               '</text>')
    for number, (name, line) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        at = [(across(x), up(y)) for x, y in line if not math.isnan(y)]
        label = top + 14 + 22 * number
        svg.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in at)}" fill="none" '
                   f'stroke="{color}" stroke-width="2"/>')
        svg += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{color}"/>' for a, b in at]
        svg += [f'<path d="M{left + width + 12} {label - 4}h18" stroke="{color}" stroke-width="3"/>',
                f'<text x="{left + width + 36}" y="{label}">{name}</text>']
    return "\n".join([*svg, "</svg>"]) + "\n"
