"""Put the documentation that was built into the folder of a web site, beside those of other versions.

    python3 run.py docs
    python docs/publish.py SITE                   # as SITE/0.1.0, the version of pyproject.toml
    python docs/publish.py SITE --name dev        # as SITE/dev

It replaces that folder, writes versions.json, which the list in the sidebar of all versions shows, and an index.html
that leads to the latest release. SITE can be served by any web server as it is.
"""

import argparse
import json
import re
import shutil
import sys
import tomllib
from pathlib import Path

from packaging.version import InvalidVersion, Version

HERE = Path(__file__).parent
REDIRECT = '<!doctype html><meta charset="utf-8"><title>geir</title><meta http-equiv="refresh" content="0; url={}/">\n'


def release(name: str) -> Version | None:
    """The version that a folder is named after; None if it is not a release, such as "dev" or "1.0rc1"."""
    try:
        version = Version(name)
    except InvalidVersion:
        return None
    return None if version.is_prerelease else version


def publish(built: Path, site: Path, name: str) -> None:
    """Copy the built documentation to `site`/`name`, and list all versions.

    Raises:
        ValueError: If `built` is not documentation in HTML, or `name` is no name of a folder.
    """
    if not (built / "index.html").is_file():
        raise ValueError(f"{built} has no index.html; build the documentation first: python3 run.py docs")
    if not re.fullmatch(r"[\w.+-]*\w", name):
        raise ValueError(f"the name of a version must have only letters, digits and .+-_, got {name!r}")
    site.mkdir(parents=True, exist_ok=True)
    complete = site / f".{name}.new"
    shutil.rmtree(complete, ignore_errors=True)
    shutil.copytree(built, complete, ignore=shutil.ignore_patterns(".doctrees", ".buildinfo*"))
    shutil.rmtree(site / name, ignore_errors=True)
    complete.rename(site / name)
    names = [page.parent.name for page in site.glob("*/index.html") if not page.parent.name.startswith(".")]
    releases = sorted((version, one) for one in names if (version := release(one)))
    ordered = [one for _, one in reversed(releases)]
    ordered += sorted(set(names) - set(ordered), reverse=True)
    versions = [{"version": one, "latest": bool(releases) and one == ordered[0]} for one in ordered]
    (site / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")
    (site / "index.html").write_text(REDIRECT.format(ordered[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="folder of the web site")
    parser.add_argument("--name", help="name of the version; default: that of pyproject.toml")
    parser.add_argument("--built", type=Path, default=HERE / "_build" / "html", help="default: docs/_build/html")
    arguments = parser.parse_args()
    name = arguments.name or tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]
    try:
        publish(arguments.built, arguments.site, name)
    except (OSError, ValueError) as error:
        sys.exit(f"publish.py: {error}")
    print(f"{arguments.site / name}; the list is {arguments.site / 'versions.json'}")


if __name__ == "__main__":
    main()
