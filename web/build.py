"""Bundle the pages of `web/` into `src/orchard/report/static`, unless that is up to date.

    python web/build.py [--if-npm]

Needs npm. What was bundled is known by the digest of its sources, so that a source distribution,
which carries the bundle, needs no npm.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "src" / "orchard" / "report" / "static"
STAMP = STATIC / "built.txt"
NO_NPM = (
    "no npm: the pages (orchard report, the dashboard) are not built; install Node.js 20 or later "
    "and run: python web/build.py"
)


def digest() -> str:
    """Return what changes whenever the sources do."""
    files = [path for path in WEB.glob("*") if path.suffix in {".json", ".mjs"}]
    files += [path for path in (WEB / "src").rglob("*") if path.is_file()]
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(f"{path.relative_to(WEB).as_posix()}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def is_current() -> bool:
    """Whether the bundle is that of the sources."""
    return STAMP.is_file() and STAMP.read_text(encoding="ascii").strip() == digest()


def has_npm() -> bool:
    """Whether pages can be built here."""
    return shutil.which("npm") is not None


def build() -> None:
    """Install the packages as locked, check the types and bundle."""
    now = digest()
    npm = shutil.which("npm") or "npm"
    locked = WEB / "node_modules" / ".package-lock.json"
    lock = WEB / "package-lock.json"
    if not locked.is_file() or locked.stat().st_mtime < lock.stat().st_mtime:
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        subprocess.run([npm, "ci", *quiet], cwd=WEB, check=True)
    subprocess.run([npm, "run", "--silent", "check"], cwd=WEB, check=True)
    subprocess.run(["node", "build.mjs", str(STATIC)], cwd=WEB, check=True)
    STAMP.write_text(f"{now}\n", encoding="ascii")


def main() -> int:
    """Build if need be; with ``--if-npm`` a missing npm is told, and no error."""
    if is_current():
        return 0
    if not has_npm():
        sys.stderr.write(f"{NO_NPM}\n")
        return 0 if "--if-npm" in sys.argv[1:] else 1
    build()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
