"""The wheel, built from the source distribution and installed in an environment with nothing but what it requires."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytest.importorskip("hatchling", reason="builds the wheel")
pytest.importorskip("pip", reason="installs the wheel")

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SMOKE = """
import sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torch, geir, geir.events, geir.hardware
    zs, _ = geir.LIF(unroll=geir.Fused())(5 * torch.ones(20, 3))
    assert torch.equal(zs, geir.LIF(unroll=geir.reference)(5 * torch.ones(20, 3))[0])
print(geir.__file__, geir.__version__, int(zs.sum()), *(str(w.message) for w in caught), sep="\\n")
"""
TOUR = """
import re, sys, types
import matplotlib
matplotlib.use("Agg")
import geir.plot
# The style of the documentation, which is no part of the package.
sys.modules["pictures"] = types.SimpleNamespace(setup=lambda: None, BLUE=geir.plot.BLUE, GRAY=geir.plot.GRAY)
cells = re.findall(r"```{code-cell} ipython3\\n(?::[^\\n]*\\n)*(.*?)```", open(sys.argv[1]).read(), re.S)
scope = vars(sys.modules["__main__"])
for cell in cells:
    exec(cell, scope)
print(geir.__file__, len(cells), scope["accuracy"].item(), sep="\\n")
"""


def run(*command, folder=None, **environment):
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_changelog_and_citation_are_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", changelog, re.M)
    # As in Keep a Changelog: the latest version first, with its date.
    released = re.compile(r"(\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d|unreleased)")
    entries = [released.fullmatch(version) for version in versions]
    assert all(entries), versions
    assert entries[0][1] == VERSION
    for section in re.split(r"^## ", changelog, flags=re.M)[1:]:
        areas = re.findall(r"^### (.*)$", section, re.M)
        assert len(areas) == len(set(areas)), f"several sections have one name: {areas}"
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", citation, re.M) == [VERSION]
    dates = re.findall(r"^date-released: (.*)$", citation, re.M)
    assert dates == ([] if entries[0][2] == "unreleased" else [entries[0][2]])


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source distribution, and the wheel that is built from its content."""
    folder = tmp_path_factory.mktemp("archives")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, folder=ROOT)
    source = folder / f"geir-{VERSION}.tar.gz"
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=folder / f"geir-{VERSION}")
    return source, folder / f"geir-{VERSION}-py3-none-any.whl"


class Environment:
    """An environment without packages, in which a wheel is installed."""

    def __init__(self, folder, wheel):
        venv.create(folder, with_pip=False)
        scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = scripts / "python"
        run(sys.executable, "-m", "pip", "--python", self.python, "install", "--no-deps", "--no-index", wheel)
        (self.packages,) = (
            Path(line) for line in run(self.python, "-c", "import site; print(site.getsitepackages()[0])")
        )
        (found,) = importlib.metadata.distributions(name="geir", path=[str(self.packages)])
        self.distribution = found

    def add_requirements(self, extra=""):
        """Link the packages that the wheel requires, and those that these require, from the environment of the test."""
        waiting, seen = [(self.distribution, extra)], set()
        while waiting:
            distribution, extra = waiting.pop()
            for requirement in map(Requirement, distribution.requires or ()):
                needed = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
                if needed and requirement.name not in seen:
                    seen.add(requirement.name)
                    installed = importlib.metadata.distribution(requirement.name)
                    self._link(installed)
                    waiting += [(installed, one) for one in requirement.extras or [""]]

    def _link(self, distribution):
        tops = {file.parts[0] for file in distribution.files if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (self.packages / top).exists():
                (self.packages / top).symlink_to(distribution.locate_file(top))

    def content(self):
        """The files and folders of the installed geir, with their sizes and times."""
        paths = [self.packages / "geir", *(self.packages / "geir").rglob("*")]
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

    def run(self, code, *arguments, **environment):
        """Run code, without the variables and folders of the environment of the test."""
        return run(self.python, "-I", "-B", "-c", code, *arguments, **environment)


@pytest.fixture(scope="module")
def environment(archives, tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("environment") / "venv", archives[1])


def test_the_archives_contain_every_file_of_the_package(archives):
    source, wheel = archives
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "geir").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    kinds = {Path(name).suffix for name in package} | {Path(name).name for name in package}
    assert {".py", ".c", ".h", ".js", ".css", ".html", ".triton", "py.typed"} <= kinds
    with zipfile.ZipFile(wheel) as archive:
        information = f"geir-{VERSION}.dist-info"
        names = set(archive.namelist())
    assert {name for name in names if not name.startswith(information)} == package
    assert f"{information}/licenses/LICENSE" in names
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= package | {"README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "tests/test_release.py"}


def test_it_runs_with_the_packages_that_it_requires_and_writes_only_to_the_cache(environment, tmp_path):
    environment.add_requirements()
    before = environment.content()
    for path in before:
        path.chmod(0o555)
    cache = tmp_path / "absent" / "cache"
    place, version, spikes, *warnings = environment.run(SMOKE, XDG_CACHE_HOME=str(cache))
    assert place.startswith(str(environment.packages))
    assert version == VERSION
    assert int(spikes) > 0
    assert warnings == []
    assert list((cache / "geir").glob("*.so")), "no kernel was compiled"
    assert environment.content() == before
    (tmp_path / "file").touch()
    _, _, spikes, *warnings = environment.run(SMOKE, XDG_CACHE_HOME=str(tmp_path / "file" / "cache"))
    assert int(spikes) > 0
    (warning,) = warnings
    assert warning.startswith("Kernels are compiled again in every process, because there is no cache: ")


def test_the_tour_runs(environment):
    environment.add_requirements(extra="plot")
    place, cells, accuracy = environment.run(TOUR, ROOT / "docs" / "tour.md")[-3:]
    assert place.startswith(str(environment.packages))
    assert int(cells) > 15
    assert float(accuracy) > 0.9
