"""Publish what `asv run` has stored as a site that opens without a network: ``python -m benchmarks.site``.

asv's own pages load their scripts from the web; those of asv-tachyon are in its package. This calls ``asv publish``,
puts asv-tachyon's pages over the same data, says that lower is better for all of it, and links the work-precision
report of each tracked commit: ``.asv/reports/<commit>.html`` where there is one, made at that commit by ``fastgrad
report --out``. The data are put into a script beside the page, so that ``.asv/html/index.html`` opens from the disk as
well as from a server.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

# a page from the disk may not fetch its neighbours: all that it asks for is in `window.stored`, or nowhere
FETCH = """
window.fetch = (address) => {
  const name = decodeURIComponent(String((address && address.url) || address)).replace(/^(\\.\\/)+/, "").split("?")[0];
  const found = Object.keys(window.stored).find(path => name === path || name.endsWith("/" + path));
  if (found === undefined) return Promise.resolve(new Response("", {status: 404}));
  return Promise.resolve(new Response(window.stored[found], {headers: {"Content-Type": "application/json"}}));
};
"""

LINK = (
    '<a href="commits.html" style="position:fixed;right:1rem;bottom:1rem;z-index:99;padding:.4rem .8rem;'
    'border-radius:1rem;background:#0b5394;color:#fff;font:14px sans-serif;text-decoration:none">'
    "Commits and work-precision reports</a>"
)

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>fastgrad: tracked commits</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
  table {{ border-collapse: collapse }} td, th {{ text-align: left; padding: .3rem 1rem .3rem 0; vertical-align: top }}
  tr + tr {{ border-top: 1px solid #8886 }}
</style></head><body>
<h1>Tracked commits</h1>
<p><a href="index.html">Speed and accuracy over commits</a>. Lower is better in every graph.</p>
<table><thead><tr><th>commit</th><th>date</th><th>subject</th><th>work-precision report</th></tr></thead>
<tbody>
{rows}
</tbody></table></body></html>
"""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def lower_is_better(index: dict[str, Any]) -> None:
    """Say so of every benchmark: asv means it, asv-tachyon takes a tracked number to be better the higher it is."""
    for benchmark in index["benchmarks"].values():
        benchmark["less_is_better"] = True


def described(commit: str) -> tuple[str, str]:
    """The date and the subject of a commit."""
    date, _, subject = run("git", "log", "-1", "--format=%cs %s", commit).strip().partition(" ")
    return date, subject


def commits_page(commits: dict[str, tuple[str, str]], reports: set[str]) -> str:
    """The table of the tracked commits, in the order given, with their reports."""
    rows = []
    for commit, (date, subject) in commits.items():
        link = f'<a href="reports/{commit}.html">open</a>' if commit in reports else "none"
        rows.append(
            f"<tr><td><code>{commit[:10]}</code></td><td>{date}</td><td>{html.escape(subject)}</td><td>{link}</td></tr>"
        )
    return PAGE.format(rows="\n".join(rows))


def build(folder: Path, reports: Path, commits: dict[str, tuple[str, str]]) -> None:
    """Turn what `asv publish` wrote into the site; `commits`: date and subject of each, the newest first."""
    index = json.loads((folder / "index.json").read_text())
    lower_is_better(index)
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "commits.json").write_text(json.dumps({commit: subject for commit, (_, subject) in commits.items()}))
    shutil.rmtree(folder / "reports", ignore_errors=True)
    (folder / "reports").mkdir()
    found = {commit for commit in commits if (reports / f"{commit}.html").is_file()}
    for commit in found:
        shutil.copy2(reports / f"{commit}.html", folder / "reports")
    (folder / "commits.html").write_text(commits_page(commits, found))

    for path in folder.iterdir():  # asv's own pages, which do not load
        if path.suffix in (".js", ".css", ".ico", ".png") or path.name == "error.html":
            path.unlink()
    data = {str(path.relative_to(folder).as_posix()): path.read_text() for path in sorted(folder.rglob("*.json"))}
    (folder / "data.js").write_text(f"window.stored = {json.dumps(data)};\n{FETCH}")
    page = (folder / "index.html").read_text()
    # modules do not load from the disk either; deferred, the script runs at the same moment
    page, scripts = re.subn(
        r'<script type="module" crossorigin ', '<script src="./data.js"></script><script defer ', page
    )
    if scripts != 1:
        raise SystemExit("asv-tachyon's page is not the one that this was written for: look at its index.html")
    page = page.replace(' crossorigin href="', ' href="').replace("</body>", f"{LINK}</body>")
    (folder / "index.html").write_text(page)


def main() -> None:
    config = json.loads((ROOT / "asv.conf.json").read_text())
    folder = ROOT / config["html_dir"]
    run(sys.executable, "-m", "asv", "publish")
    run(sys.executable, "-m", "asv_tachyon", "install", "--no-backup", str(folder))
    index = json.loads((folder / "index.json").read_text())
    hashes = [
        index["revision_to_hash"][revision] for revision in sorted(index["revision_to_hash"], key=int, reverse=True)
    ]
    tracked = {path.name.split("-")[0] for path in (ROOT / config["results_dir"]).glob("*/*-*.json")}
    commits = {commit: described(commit) for commit in hashes if commit[: index["hash_length"]] in tracked}
    build(folder, ROOT / ".asv" / "reports", commits)
    print(
        f"{folder / 'index.html'}: {len(commits)} commits; open it, or serve it with python -m http.server -d {folder}"
    )


if __name__ == "__main__":
    main()
